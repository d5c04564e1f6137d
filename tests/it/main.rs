<<<<<<< HEAD
//! The server's integration tests: one binary, since linking costs more than running.

mod boundary;
=======
//! The integration tests: one binary.

mod store;
>>>>>>> store
mod support;
