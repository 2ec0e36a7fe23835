//! When each node wants to be called next. What it costs to find the first does not grow with the nodes that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Node;

/// See the module. Of nodes that are due at the same moment, sources are first and viewers last, each by number.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    due: BTreeMap<Node, Duration>,
    order: BTreeSet<(Duration, Node)>,
}

impl Timetable {
    /// The node that is due first, and when.
    pub(super) fn first(&self) -> Option<(Duration, Node)> {
        self.order.first().copied()
    }

    /// From now on `node` is due then; none: not before it is asked for something.
    pub(super) fn set(&mut self, node: Node, due: Option<Duration>) {
        let former = match due {
            Some(due) => self.due.insert(node, due),
            None => self.due.remove(&node),
        };

        if former == due {
            return;
        }
        if let Some(former) = former {
            self.order.remove(&(former, node));
        }
        self.order.extend(due.map(|due| (due, node)));
    }
}
