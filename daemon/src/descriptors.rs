//! How many files and sockets a program may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More are needed than this process may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} open files are needed and at most {allowed} are allowed: raise the limit with `ulimit -Hn {needed}` as \
     root, or LimitNOFILE={needed} in a unit"
)]
pub struct TooFew {
    /// So many are needed.
    pub needed: u64,
    /// The hard limit.
    pub allowed: u64,
}

/// Sees to it that this process may have `needed` files open at a time: raises its soft limit (RLIMIT_NOFILE) when that
/// is lower.
///
/// # Errors
/// When the hard limit is lower, too; then nothing is changed.
pub fn allow(needed: u64) -> Result<(), TooFew> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }

    if let Some(allowed) = maximum.filter(|maximum| *maximum < needed) {
        return Err(TooFew { needed, allowed });
    }

    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(needed),
            maximum,
        },
    );

    raised.map_err(|_| TooFew {
        needed,
        allowed: current.unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_follows_the_need_up_to_the_hard_one_and_no_further() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let (Some(current), Some(maximum)) = (current, maximum) else {
            return;
        };

        let needed = current.saturating_add(1).min(maximum);
        assert_eq!(allow(needed), Ok(()));
        assert_eq!(
            getrlimit(Resource::Nofile),
            Rlimit {
                current: Some(needed.max(current)),
                maximum: Some(maximum)
            }
        );

        let error = allow(maximum + 1).unwrap_err();
        assert_eq!(
            error,
            TooFew {
                needed: maximum + 1,
                allowed: maximum
            }
        );

        assert!(error.to_string().contains("LimitNOFILE"), "{error}");
        assert_eq!(getrlimit(Resource::Nofile).maximum, Some(maximum));
    }
}
