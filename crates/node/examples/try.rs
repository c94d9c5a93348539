#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]
use control_plane::Progress;
use node::{Enclosure, Node};
#[tokio::main]
async fn main() -> std::process::ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Some(enclosure) = Enclosure::current() else { return node::enclose().await.unwrap() };
    let t = std::time::Instant::now();
    let control_plane = node::control_plane(&enclosure).start().await.unwrap();
    println!("control plane {:?}", t.elapsed());
    let node = match Node::start(&enclosure, &control_plane, &Progress::default()).await {
        Ok(n) => n,
        Err(e) => {
            println!("{e:#}");
            return std::process::ExitCode::FAILURE;
        }
    };
    println!("node {:?} {:?}", t.elapsed(), enclosure);
    let st = std::process::Command::new("/bin/sh")
        .args(["-c", &std::env::args().nth(1).unwrap_or("true".into())])
        .env("KUBECONFIG", control_plane.kubeconfig_path())
        .env(
            "PATH",
            format!("{}:{}", control_plane.assets_dir().display(), std::env::var("PATH").unwrap()),
        )
        .status()
        .unwrap();
    println!("{st} {:?}", t.elapsed());
    drop(node);
    std::process::ExitCode::SUCCESS
}
