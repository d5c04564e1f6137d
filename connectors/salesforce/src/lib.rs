//! The Salesforce connector.

mod describe;
mod errors;
mod ids;
mod limits;
mod objects;
mod page;
mod plan;
mod soql;
mod times;
mod values;
