//! The desired state: resources and the order between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resource::{Id, Resource, Shared};

/// A resource with its edges.
#[derive(Clone)]
pub struct Node {
    /// The resource.
    pub resource: Shared,
    /// What must be as it should be before this one is touched.
    pub after: BTreeSet<Id>,
    /// Units that owe a restart when this one changes; each of them comes after this one.
    pub restarts: BTreeSet<Id>,
}

/// Resources by id. Built by a role, then checked once by [`Graph::validate`].
#[derive(Clone, Default)]
pub struct Graph {
    nodes: BTreeMap<Id, Node>,
}

impl Graph {
    /// Adds a resource after the ones named, and returns its id. A second resource of the same id
    /// replaces the first and is refused by no one: roles do not do that, and a test says so.
    pub fn add(&mut self, resource: impl Resource, after: &[&Id]) -> Id {
        let id = resource.id();
        let after = after.iter().map(|id| (*id).clone()).collect();
        self.nodes
            .insert(id.clone(), Node { resource: Arc::new(resource), after, restarts: BTreeSet::new() });
        id
    }

    /// A change of `cause` makes a restart of `unit` owed.
    pub fn restart_on(&mut self, unit: &Id, causes: &[&Id]) {
        for cause in causes {
            if let Some(node) = self.nodes.get_mut(*cause) {
                node.restarts.insert(unit.clone());
            }
            if let Some(node) = self.nodes.get_mut(unit) {
                node.after.insert((*cause).clone());
            }
        }
    }

    /// All nodes by id.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<Id, Node> {
        &self.nodes
    }
}
