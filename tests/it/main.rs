//! The server's integration tests: one binary, since linking costs more than running.

mod boundary;
mod support;
