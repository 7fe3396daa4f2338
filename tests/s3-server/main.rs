//! The S3 server of the suites as a process of its own: everything in memory, gone when it ends.
//!
//! `s3-server --listen 127.0.0.1:0` prints the address it listens on.

use std::{net::SocketAddr, process::ExitCode};

use support::s3_server::{ACCESS_KEY_ID, BUCKET, S3Server, SECRET_ACCESS_KEY};

const USAGE: &str = "usage: s3-server [--listen 127.0.0.1:PORT] [--bucket NAME]";

/// What the command line says.
struct Arguments {
    listen: SocketAddr,
    bucket: String,
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what the program says"
)]
#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("{mistake}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let server = match S3Server::listen(arguments.listen, None).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("listen on {}: {error}", arguments.listen);
            return ExitCode::FAILURE;
        }
    };
    server.buckets.create(&arguments.bucket);
    println!("endpoint {}", server.endpoint());
    println!("bucket {}", arguments.bucket);
    println!("access-key-id {ACCESS_KEY_ID}");
    println!("secret-access-key {SECRET_ACCESS_KEY}");
    server.wait().await;
    ExitCode::SUCCESS
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            bucket: BUCKET.to_owned(),
        };
        while let Some(word) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("`{word}` needs a value"))?;
            match word.as_str() {
                "--listen" => {
                    arguments.listen = value
                        .parse()
                        .map_err(|_| format!("`{value}` is no address and port"))?;
                }
                "--bucket" => arguments.bucket = value,
                _ => return Err(format!("unknown option `{word}`")),
            }
        }
        Ok(arguments)
    }
}
