//! The promises that the simulator shows: the real engines on a virtual clock. Each test's name begins with its promise.

mod storms;
