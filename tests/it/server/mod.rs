//! Stores on a server that dies, is replaced, or is reached through a pooler.

mod failover;
mod grants;
mod names;
mod persistent;
mod pooler;
mod restart;
mod roles;
