//! The simulator over real HTTP.

// All of it is test code; clippy goes by the attribute.
#[cfg(test)]
mod changes;
#[cfg(test)]
mod login;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod world;
