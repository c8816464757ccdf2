//! Desired state: one file a role, each a pure function from settings to a graph.
