//! `hallmark-verifier`: the service as a program.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use hallmark_verifier_service::config::{LogFormat, Span};
use hallmark_verifier_service::open_files;
use hallmark_verifier_service::{Config, Listeners, Load, PipelineLoader, ReloadHandle, Service, serve};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Exit code for a configuration, policy or key that cannot be used.
const INVALID: u8 = 21;

/// Answers whether container images may be used: verdicts over HTTP, and Kubernetes admission.
///
/// Every setting of the configuration file has a default and an environment variable: `api.listen` is
/// HALLMARK_API_LISTEN. SIGHUP reads the trust policies and the registries' files again; SIGTERM lets requests under way finish.
#[derive(Parser)]
#[command(name = "hallmark-verifier", version)]
struct Arguments {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE", env = "HALLMARK_CONFIG")]
    config: Option<PathBuf>,
    /// A trust policy, or a directory of them, instead of those that the configuration names; may be repeated.
    #[arg(long = "policy", value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Check the configuration, the trust policies and the keys, say what is wrong, and exit.
    #[arg(long)]
    check: bool,
    /// Print every setting with its value, and exit.
    #[arg(long)]
    print_config: bool,
}

/// Why the program ends without having served.
struct Failure {
    code: u8,
    message: String,
    hint: String,
}

impl Failure {
    fn new(code: u8, message: impl ToString, hint: impl Into<String>) -> Self {
        Self { code, message: message.to_string(), hint: hint.into() }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message, hint }) => {
            // Nothing can be done when stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {message}\nhint: {hint}");
            ExitCode::from(code)
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = Config::load(arguments.config.as_deref(), |variable| std::env::var(variable).ok())
        .map_err(|error| Failure::new(INVALID, &error, error.hint()))?;
    if !arguments.policies.is_empty() {
        config.policies = arguments.policies;
    }
    if arguments.print_config {
        return print(&config);
    }
    // What is wrong with the folder for evidence is a warning in the log.
    if !arguments.check {
        start_log(&config)?;
    }
    let shortage = open_files::provide(&config.limits);
    let load = PipelineLoader::new(&config).map_err(|error| Failure::new(INVALID, &error, error.hint()))?;
    if arguments.check {
        if let Some((problem, hint)) = shortage.map(|shortage| shortage.texts()) {
            // Nothing can be done when stderr is closed.
            let _ = writeln!(std::io::stderr(), "warning: {problem}\nhint: {hint}");
        }
        return check(&config, &load);
    }
    if let Some((problem, hint)) = shortage.map(|shortage| shortage.texts()) {
        tracing::warn!(hint, "{problem}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(1, format!("the runtime does not start: {error}"), "check the system's limits")
    })?;
    runtime.block_on(serve_until_signalled(config, load))
}

fn print(config: &Config) -> Result<(), Failure> {
    // JSON is YAML.
    let text = serde_json::to_string_pretty(config).map_err(|error| Failure::new(1, error, "this is a bug"))?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::new(1, error, "is the output closed?"))
}

fn check(config: &Config, load: &PipelineLoader) -> Result<(), Failure> {
    hallmark_verifier_service::check_tls(&config.api.tls)
        .map_err(|error| Failure::new(INVALID, error, "check the files under `api.tls`"))?;
    let loaded = load.load().map_err(|error| Failure::new(INVALID, &error.message, &error.hint))?;
    let mut out = std::io::stdout();
    for policy in loaded.session.policies() {
        writeln!(out, "{} {}", policy.name, policy.digest)
            .map_err(|error| Failure::new(1, error, "is the output closed?"))?;
    }
    Ok(())
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log.level)
        .map_err(|error| Failure::new(INVALID, format!("setting `log.level`: {error}"), "write for example `info`"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}

async fn serve_until_signalled(mut config: Config, load: PipelineLoader) -> Result<(), Failure> {
    let bind = |address, setting: &'static str| {
        let hint = format!("change the setting `{setting}`");
        TcpListener::bind(address)
            .map_err(|error| Failure::new(1, format!("cannot listen on {address}: {error}"), hint))
    };
    let listeners = Listeners {
        api: bind(config.api.listen, "api.listen")?,
        operations: bind(config.operations.listen, "operations.listen")?,
    };
    let no_signals =
        |error| Failure::new(1, format!("signals cannot be received: {error}"), "check the system's limits");
    let hang_up = signal(SignalKind::hangup()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    // Somebody at a terminal balances no load.
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        config.accept_while_draining = Span::seconds(0);
    }
    // What was bound, not what was asked for: with port 0 the system chooses one.
    let bound = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let api = bound(&listeners.api, config.api.listen);
    let operations = bound(&listeners.operations, config.operations.listen);
    let service = Service::new(config, Arc::new(load));
    tokio::spawn(reload_on(hang_up, service.reload_handle()));
    tracing::info!(%api, %operations, version = env!("CARGO_PKG_VERSION"), "hallmark-verifier starts");
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests under way are finished");
    };
    let served = serve(service, listeners, shutdown).await;
    served.map_err(|error| Failure::new(1, error, "the log has the details"))
}

async fn reload_on(mut hang_up: Signal, reload: ReloadHandle) {
    while hang_up.recv().await.is_some() {
        tracing::info!("SIGHUP: the trust policies and the registries' files are read again");
        reload.reload();
    }
}
