//! What only a server can do to a store: die, be replaced, be reached through a pooler.

mod failover;
mod grants;
mod names;
mod persistent;
mod pooler;
mod restart;
mod roles;
