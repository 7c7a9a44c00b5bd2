//! The lanes of the users of one cluster, and the shells that they keep.

pub(crate) mod lane;
pub(crate) mod registry;
pub(crate) mod shell_cache;
