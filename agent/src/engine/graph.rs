//! The desired state: resources and the order between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resource::{Id, Kind, Resource, Shared};
use crate::{Error, Result};

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
    /// Ids that were added more than once.
    twice: BTreeSet<Id>,
    /// Ends of restart edges that were not there when the edge was made.
    unknown: BTreeSet<(Id, Id)>,
}

impl Graph {
    /// Adds a resource after the ones named, and returns its id. A second resource of the same id
    /// is remembered, and refused by [`Graph::validate`].
    pub fn add(&mut self, resource: impl Resource, after: &[&Id]) -> Id {
        let id = resource.id();
        let after = after.iter().map(|id| (*id).clone()).collect();
        let node = Node { resource: Arc::new(resource), after, restarts: BTreeSet::new() };
        if self.nodes.insert(id.clone(), node).is_some() {
            self.twice.insert(id.clone());
        }
        id
    }

    /// A change of `cause` makes a restart of `unit` owed. Both must have been added.
    pub fn restart_on(&mut self, unit: &Id, causes: &[&Id]) {
        for cause in causes {
            match self.nodes.get_mut(*cause) {
                Some(node) => {
                    node.restarts.insert(unit.clone());
                }
                None => {
                    self.unknown.insert((unit.clone(), (*cause).clone()));
                }
            }
            match self.nodes.get_mut(unit) {
                Some(node) => {
                    node.after.insert((*cause).clone());
                }
                None => {
                    self.unknown.insert(((*cause).clone(), unit.clone()));
                }
            }
        }
    }

    /// All nodes by id.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<Id, Node> {
        &self.nodes
    }

    /// Checks the edges and returns the ids in an order in which each comes after what it needs.
    ///
    /// # Errors
    /// [`Error::Refused`] for an id added twice, an edge to nothing, a restart of something that is
    /// not a unit (nothing would ever pay it), or a cycle, each named.
    pub fn validate(&self) -> Result<Vec<Id>> {
        if let Some(id) = self.twice.first() {
            return Err(refused(format!("{id} is in the graph twice")));
        }
        if let Some((from, to)) = self.unknown.first() {
            return Err(refused(format!("{from} is tied to {to}, which is not in the graph")));
        }
        for (id, node) in &self.nodes {
            if let Some(missing) = node.after.iter().find(|after| !self.nodes.contains_key(*after)) {
                return Err(refused(format!("{id} comes after {missing}, which is not in the graph")));
            }
            if let Some(other) = node.restarts.iter().find(|unit| unit.kind != Kind::Unit) {
                return Err(refused(format!("{id} restarts {other}, which is not a unit")));
            }
        }
        self.order()
    }

    /// Topological order; among those that are ready, by id, so that it is the same every time.
    fn order(&self) -> Result<Vec<Id>> {
        let mut waits: BTreeMap<&Id, usize> =
            self.nodes.iter().map(|(id, node)| (id, node.after.len())).collect();
        let dependents = self.dependents();
        let mut ready: BTreeSet<&Id> =
            waits.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop_first() {
            waits.remove(id);
            order.push(id.clone());
            for dependent in dependents.get(id).into_iter().flatten() {
                if let Some(count) = waits.get_mut(dependent) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(dependent);
                    }
                }
            }
        }
        if waits.is_empty() { Ok(order) } else { Err(refused(self.cycle(&waits))) }
    }

    /// For each id, those that come directly after it.
    #[must_use]
    pub fn dependents(&self) -> BTreeMap<&Id, Vec<&Id>> {
        let mut dependents: BTreeMap<&Id, Vec<&Id>> = BTreeMap::new();
        for (id, node) in &self.nodes {
            for after in &node.after {
                dependents.entry(after).or_default().push(id);
            }
        }
        dependents
    }

    /// Names one cycle among nodes that all wait for each other: walks backwards until a node comes again.
    fn cycle(&self, waits: &BTreeMap<&Id, usize>) -> String {
        let mut path: Vec<&Id> = Vec::new();
        let mut next = waits.keys().next().copied();
        while let Some(id) = next {
            if let Some(start) = path.iter().position(|seen| *seen == id) {
                let mut names: Vec<String> = path.iter().skip(start).map(ToString::to_string).collect();
                names.push(id.to_string());
                return format!("these wait for each other: {}", names.join(" → "));
            }
            path.push(id);
            next =
                self.nodes.get(id).and_then(|node| node.after.iter().find(|after| waits.contains_key(after)));
        }
        "some resources wait for each other".to_owned()
    }
}

fn refused(why: String) -> Error {
    Error::Refused {
        what: "this desired state".to_owned(),
        why,
        fix: "nothing was touched; report this as a bug of ops-agent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::fakes::{Fake, id};

    fn chain(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (name, after) in edges {
            let after: Vec<Id> = after.iter().map(|name| id(name)).collect();
            graph.add(Fake::new(name), &after.iter().collect::<Vec<_>>());
        }
        graph
    }

    fn refusal(graph: &Graph) -> String {
        graph.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_cycle_is_named() {
        let graph = chain(&[("a", &["c"]), ("b", &["a"]), ("c", &["b"]), ("d", &["a"])]);
        assert!(
            refusal(&graph).contains("file:a → file:c → file:b → file:a"),
            "not named: {}",
            refusal(&graph)
        );
    }

    #[test]
    fn a_node_after_itself_is_a_cycle() {
        assert!(refusal(&chain(&[("a", &["a"])])).contains("file:a → file:a"));
    }

    #[test]
    fn an_edge_to_nothing_is_refused() {
        assert!(refusal(&chain(&[("a", &["ghost"])])).contains("file:a comes after file:ghost"));
    }

    #[test]
    fn an_id_added_twice_is_refused() {
        assert!(refusal(&chain(&[("a", &[]), ("a", &[])])).contains("file:a is in the graph twice"));
    }

    #[test]
    fn a_restart_edge_to_nothing_is_refused() {
        let mut graph = chain(&[("a", &[])]);
        graph.restart_on(&Id::new(Kind::Unit, "ghost.service"), &[&id("a")]);
        assert!(refusal(&graph).contains("unit:ghost.service, which is not in the graph"));
    }

    #[test]
    fn a_restart_of_a_file_is_refused() {
        let mut graph = chain(&[("a", &[]), ("b", &[])]);
        graph.restart_on(&id("b"), &[&id("a")]);
        assert!(refusal(&graph).contains("file:a restarts file:b, which is not a unit"));
    }

    proptest! {
        #[test]
        fn each_comes_after_what_it_needs(edges in proptest::collection::vec((1usize..40, 0usize..40), 0..120)) {
            let mut after: BTreeMap<usize, BTreeSet<usize>> = (0..40).map(|n| (n, BTreeSet::new())).collect();
            for (node, need) in edges {
                after.get_mut(&node).unwrap().insert(need % node);
            }
            let mut graph = Graph::default();
            for (node, needs) in &after {
                let needs: Vec<Id> = needs.iter().map(|need| id(&need.to_string())).collect();
                graph.add(Fake::new(&node.to_string()), &needs.iter().collect::<Vec<_>>());
            }
            let order = graph.validate().unwrap();
            prop_assert_eq!(order.len(), 40);
            let place = |id: &Id| order.iter().position(|other| other == id);
            for (id, node) in graph.nodes() {
                for need in &node.after {
                    prop_assert!(place(need) < place(id));
                }
            }
        }

        #[test]
        fn a_closed_ring_is_always_found(size in 1usize..30, tail in 0usize..10) {
            let mut graph = Graph::default();
            for node in 0..size {
                graph.add(Fake::new(&node.to_string()), &[&id(&((node + 1) % size).to_string())]);
            }
            for node in 0..tail {
                graph.add(Fake::new(&format!("t{node}")), &[&id("0")]);
            }
            prop_assert!(refusal(&graph).contains(" → "));
        }
    }
}
