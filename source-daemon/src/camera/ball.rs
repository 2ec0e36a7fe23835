//! A bouncing ball whose true centre is known.
