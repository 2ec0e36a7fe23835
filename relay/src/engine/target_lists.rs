//! The lists of targets that frames go to. Their memory is used again, so a frame costs no allocation.

use std::sync::Arc;

use super::output::Target;
use super::packetize::{RETRANSMIT_FRAMES, SPARE_FRAMES};

/// As many lists as a stream has buffers for frames.
#[derive(Debug, Default)]
pub(super) struct TargetLists(Vec<Arc<Vec<Target>>>);

impl TargetLists {
    /// A list that `fill` has written.
    pub(super) fn list(&mut self, fill: impl FnOnce(&mut Vec<Target>)) -> Arc<Vec<Target>> {
        let unused = self
            .0
            .iter_mut()
            .position(|list| Arc::get_mut(list).is_some());

        let mut list = unused.map(|at| self.0.swap_remove(at)).unwrap_or_default();
        let targets =
            Arc::get_mut(&mut list).expect("a list is taken only when nobody else holds it");
        targets.clear();
        fill(targets);
        if self.0.len() < RETRANSMIT_FRAMES + SPARE_FRAMES {
            self.0.push(Arc::clone(&list));
        }

        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::output::Route;
    use std::net::SocketAddr;
    use std::time::Duration;

    #[test]
    fn a_list_that_is_in_use_is_not_written_over() {
        let mut lists = TargetLists::default();
        let target = |port| Target {
            route: Route {
                remote: SocketAddr::from(([10, 0, 0, 1], port)),
                local: None,
            },
            capacity: 0,
            parity: 0,
            own_socket: false,
            spread: Duration::ZERO,
        };

        let held = lists.list(|list| list.push(target(1)));
        for port in 2..100 {
            assert_eq!(lists.list(|list| list.push(target(port)))[0], target(port));
        }

        assert_eq!(*held, [target(1)]);
        assert!(lists.0.len() <= 2, "{} lists", lists.0.len());
    }
}
