//! End-to-end tests of the spine: the real binary, the real `det`, real tasks, on the machine itself.
//!
//! They need root and what `cargo xtask test` sets up. Names carry the ids of the requirements they hold. What a
//! part does by itself is tested beside it: the policy in `domain`, the wire in `web`, the sandbox in `launch`.

mod support;

mod account;
mod back_up;
mod bad_input;
mod canary;
mod command;
mod connections;
mod context;
mod det_cluster;
mod det_command;
mod det_group;
mod det_place;
mod det_token;
mod det_user;
mod door;
mod encryption;
mod environment;
mod forwarders;
mod full_disk;
mod gangs;
mod group;
mod hanging;
mod identity;
mod kill_storm;
mod neighbours;
mod network;
mod openapi;
mod output;
mod polyaxon;
mod queue;
mod restart;
mod sdk;
mod session;
mod token;
mod transcript;
mod unprivileged;
mod way;
