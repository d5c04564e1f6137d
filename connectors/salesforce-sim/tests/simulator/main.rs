//! The simulator over real HTTP.
#![warn(clippy::too_many_lines)]

// All of it is test code; clippy goes by the attribute.
#[cfg(test)]
mod bulk;
#[cfg(test)]
mod bulk_trouble;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod life;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod login;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod world;
