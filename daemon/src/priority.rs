//! Which threads go first when the processor is short. Threads that may be late call it, at their start.

use rustix::process::{getpriority_process, setpriority_process};

/// Niceness of a thread in the background (nice(1)). With 3 an encoder beside four busy browsers made one picture a second.
const BACKGROUND: i32 = 1;

/// Lets all threads of normal priority go before the calling one and those that it starts from now on: on Linux niceness is
/// a thread's own (setpriority(2)). Where the system refuses, it stays as it is.
pub fn to_background() {
    let lowered = getpriority_process(None)
        .and_then(|present| setpriority_process(None, present.max(BACKGROUND)));
    if let Err(error) = lowered {
        tracing::debug!("a thread cannot have a lower priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_in_the_background_takes_no_other_along() {
        let own = || getpriority_process(None).unwrap();
        let before = own();
        let background = std::thread::spawn(move || {
            to_background();
            (own(), std::thread::spawn(own).join().unwrap())
        });

        let niceness = before.max(BACKGROUND);
        assert_eq!(background.join().unwrap(), (niceness, niceness));
        assert_eq!(own(), before);
    }
}
