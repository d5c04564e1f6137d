//! The command line: what the programs `tether serve`, `tether demo`, `tether connectors …` do. Nothing else in the server uses it.

use crate::caller::Role;
use crate::config::Options;
use crate::domain::GroupId;
use crate::server::{self, Failure};
use crate::tokens::dev::DevSigner;
use crate::{data_dir, telemetry};
use clap::{Args, Parser, Subcommand, ValueEnum};
use print::say;
use std::path::PathBuf;
use std::time::Duration;

mod check;
mod demo;
mod erase;
mod list;
mod print;
mod secrets;
mod serve;
mod template;

/// tether: the CRM integration service.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// A TOML file with settings; environment variables (TETHER__…) and flags override it
    #[arg(long, global = true, env = "TETHER_CONFIG")]
    config: Option<PathBuf>,
    /// Override one setting: --set listen.grpc=127.0.0.1:0 (may be repeated)
    #[arg(long = "set", global = true, value_name = "PATH=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The folder of the SQLite file, the search index and generated keys
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// Development mode: generated keys, demo groups, loopback only. Never for production
    #[arg(long, global = true)]
    dev: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("is not of the form PATH=VALUE")?;
    Ok((path.to_owned(), value.to_owned()))
}

#[derive(Subcommand)]
enum Command {
    /// Serve gRPC, the callback page and metrics
    Serve,
    /// Migrate the database to this version, then exit
    Migrate,
    /// Print a token, signed with the key of `serve --dev`
    Token {
        /// The group of the caller; not used for the role service
        #[arg(long)]
        group: Option<String>,
        /// The role of the caller
        #[arg(long, value_enum, default_value = "administrator")]
        role: Role,
        /// The subject of the token
        #[arg(long, default_value = "dev-user")]
        subject: String,
        /// How long the token is valid, in hours
        #[arg(long, default_value_t = 12)]
        hours: u64,
    },
    /// Manage connectors
    Connectors {
        #[command(subcommand)]
        command: ConnectorsCommand,
    },
    /// Manage the keys that seal secrets
    Secrets {
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Manage groups
    Groups {
        #[command(subcommand)]
        command: GroupsCommand,
    },
    /// Run the demo: a simulated CRM, a server, and all steps over gRPC
    Demo(demo::Options),
}

#[derive(Subcommand)]
enum GroupsCommand {
    /// Delete a group and erase at once all data that would otherwise be deleted later, including its audit log.
    /// Servers can keep running; the command can be repeated. docs/operate.md lists what is erased and what cannot
    /// be.
    Erase {
        /// The id of the group
        group: GroupId,
        /// Erase; without this flag the command only prints what it would do
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
enum SecretsCommand {
    /// Print how many secrets each key seals; a key that seals none can be removed from the configuration
    Status,
    /// Seal all secrets again with the first key. Servers can keep running; the command can be repeated
    Rotate {
        /// Change nothing: the same as `status`
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand)]
enum ConnectorsCommand {
    /// List connectors; for those that cannot be loaded, with the reason
    List,
    /// Create the sources of a new connector, which build and work as they are (docs/connectors.md)
    New {
        /// The name of the connector: letters a-z, digits, dashes
        name: String,
        /// The folder in which to create the folder of the connector
        #[arg(long, default_value = ".")]
        into: PathBuf,
        /// The folder connectors/sdk of a checkout of tether; default: the checkout in which this program was built
        #[arg(long)]
        sdk: Option<PathBuf>,
    },
    /// Check a connector against the contract (docs/conformance.md); exits with status 1 if it fails
    Check(check::Options),
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Member, Self::Administrator, Self::Service]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}

impl Global {
    fn options(&self) -> Result<Options, Failure> {
        let mut flags = self.set.clone();
        if let Some(folder) = &self.data_dir {
            flags.push(("data_dir".to_owned(), folder.display().to_string()));
        }
        if self.dev {
            flags.push(("dev".to_owned(), "true".to_owned()));
        }
        Ok(Options::load(self.config.as_deref(), &flags)?)
    }
}

/// Runs the command.
///
/// # Errors
/// An error message for the operator.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve => serve::run(cli.global.options()?).await,
        Command::Migrate => {
            let options = cli.global.options()?;
            telemetry::init_logs(&options.log)?;
            data_dir::close_umask();
            server::prepare_data_dir(&options)?;
            let (_, silent) = server::migrate(&options).await?;
            match silent.into_iter().next() {
                Some(error) => Err(error.into()),
                None => {
                    say("the database is up to date");
                    Ok(())
                }
            }
        }
        Command::Token {
            group,
            role,
            subject,
            hours,
        } => {
            let options = Global {
                dev: true,
                ..cli.global
            }
            .options()?;
            let signer = DevSigner::open(&options.data_dir, false)?;
            let group = if role == Role::Service {
                None
            } else {
                Some(group.as_deref().unwrap_or("acme"))
            };
            say(&signer.sign(&subject, group, role, Duration::from_secs(hours * 3_600))?);
            Ok(())
        }
        Command::Connectors {
            command: ConnectorsCommand::List,
        } => {
            // Without a configuration file, only the folder is used, and no key is required.
            let dev = cli.global.dev || cli.global.config.is_none();
            let options = Global { dev, ..cli.global }.options()?;
            telemetry::init_logs(&options.log)?;
            list::run(&options).await
        }
        Command::Connectors {
            command: ConnectorsCommand::New { name, into, sdk },
        } => {
            let folder = template::create(&name, &into, sdk.as_deref())?;
            say(&folder.display().to_string());
            eprintln!(
                "next: cd {0} && cargo test; see {0}/README.md for what to change",
                folder.display()
            );
            Ok(())
        }
        Command::Connectors {
            command: ConnectorsCommand::Check(options),
        } => match check::run(options).await? {
            true => Ok(()),
            // The failed checks were printed already.
            false => std::process::exit(1),
        },
        Command::Secrets { command } => {
            let options = cli.global.options()?;
            telemetry::init_logs(&options.log)?;
            let rotate = matches!(command, SecretsCommand::Rotate { dry_run: false });
            secrets::run(&options, rotate).await
        }
        Command::Groups {
            command: GroupsCommand::Erase { group, yes },
        } => {
            let options = cli.global.options()?;
            telemetry::init_logs(&options.log)?;
            erase::run(&options, &group, yes).await
        }
        Command::Demo(options) => demo::run(options).await,
    }
}
