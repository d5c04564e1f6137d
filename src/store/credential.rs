//! Credentials: the sealed logins of accounts, one per login method, client, organization and user.

mod end;
mod lease;
mod limit;
mod login;
mod row;

pub use end::RevokedCredential;
pub(super) use end::release;
pub(super) use limit::check_account;
pub use login::{CredentialPut, NewCredential};
pub use row::Credential;
pub(super) use row::{get, lock, lock_all, of_account};
