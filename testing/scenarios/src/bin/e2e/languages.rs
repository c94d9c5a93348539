//! Images of the example applications: compiled ones as they are, the others with this machine's
//! interpreter.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use local_cluster::node::{ImageBuilder, ImageContents};
use serde::Deserialize;
use testkit::manifests::checkout_path;

/// Languages of `examples/consumers`.
pub(crate) const LANGUAGES: [&str; 4] = ["go", "node", "python", "rust"];

/// Parts of Python's library that no application needs.
const UNUSED: [&str; 9] = [
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pip",
    "setuptools",
    "site-packages",
    "test",
    "tkinter",
];

/// Prints the files of the interpreter in the environment that `make consumers` creates, and the
/// libraries that the example loads.
const PYTHON_FILES: &str = r#"
import json, os, sys, sysconfig
import consumer.__main__, watchdog.observers.inotify
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
print(json.dumps({
    "program": os.path.realpath(sys.executable),
    "library": sysconfig.get_path("stdlib"),
    "packages": sysconfig.get_path("purelib"),
    "loaded": [os.path.realpath(file) for file in files if file.endswith(".so")],
}))
"#;

/// Returns the tag of an application's image.
pub(crate) fn image(language: &str) -> String {
    format!("localhost/consumer-{language}:e2e")
}

/// Builds the image of the example in a language. `base` has the libraries that Rust programs need.
pub(crate) async fn build(builder: &ImageBuilder, language: &str, base: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let context = dir.path();
    let dockerfile = match language {
        "go" => {
            copy(&consumer_file("consumers/go/consumer")?, &context.join("consumer"))?;
            "FROM scratch\nCOPY consumer /consumer\nENTRYPOINT [\"/consumer\"]\n".to_owned()
        }
        "rust" => {
            strip(&consumer_file("debug/consumer")?, &context.join("consumer"))?;
            format!("FROM {base}\nCOPY consumer /consumer\nENTRYPOINT [\"/consumer\"]\n")
        }
        "node" => build_node(builder, context).await?,
        "python" => build_python(builder, context).await?,
        other => bail!("there is no consumer in {other}"),
    };
    let path = context.join("Dockerfile");
    fs::write(&path, dockerfile)?;
    builder.build(&image(language), context, &path, &["--layers"]).await
}

async fn build_node(builder: &ImageBuilder, context: &Path) -> Result<String> {
    let program = PathBuf::from(output(Command::new("node").args(["-p", "process.execPath"]))?);
    let base = "localhost/machine:node";
    builder
        .build_from_host(base, &ImageContents { programs: &[&program], ..ImageContents::default() })
        .await?;
    let example = checkout_path("examples/consumers/node");
    for name in ["main.js", "login.js", "secrets.js", "package.json", "node_modules"] {
        copy(&example.join(name), &context.join("app").join(name)).context("run `make e2e`")?;
    }
    let program = program.display();
    Ok(format!("FROM {base}\nCOPY app /app\nENTRYPOINT [\"{program}\", \"/app/main.js\"]\n"))
}

#[derive(Deserialize)]
struct PythonFiles {
    program: PathBuf,
    library: PathBuf,
    packages: PathBuf,
    loaded: Vec<PathBuf>,
}

async fn build_python(builder: &ImageBuilder, context: &Path) -> Result<String> {
    let example = checkout_path("examples/consumers/python");
    let mut query = Command::new(consumer_file("consumers/python/bin/python")?);
    query.args(["-B", "-c", PYTHON_FILES]).current_dir(&example);
    let PythonFiles { program, library, packages, loaded } =
        serde_json::from_str(&output(&mut query)?)?;
    let loaded: Vec<&Path> = loaded.iter().map(PathBuf::as_path).collect();
    let base = "localhost/machine:python";
    let contents =
        ImageContents { programs: &[&program], libraries_of: &loaded, ..ImageContents::default() };
    builder.build_from_host(base, &contents).await?;
    copy(&library, &context.join("library"))?;
    copy(&packages, &context.join("app"))?;
    copy(&example.join("consumer"), &context.join("app/consumer"))?;
    let (program, library) = (program.display(), library.display());
    Ok(format!(
        "FROM {base}\nCOPY library {library}\nCOPY app /app\nENV PYTHONPATH=/app\n\
         ENTRYPOINT [\"{program}\", \"-B\", \"-m\", \"consumer\"]\n"
    ))
}

/// Returns the path of a file that `make consumers` created, next to this program.
fn consumer_file(name: &str) -> Result<PathBuf> {
    let this = env::current_exe()?;
    let target = this.ancestors().nth(2).context("this program is not in target/debug")?;
    let path = target.join(name);
    if !path.exists() {
        bail!("{} is missing: run `make e2e`", path.display());
    }
    Ok(path)
}

/// Strips an executable, because each Pod has a copy of its image.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("strip").arg("-o").arg(to).arg(from).status();
    if !status.context("can't run strip")?.success() {
        bail!("can't strip {}", from.display());
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("can't run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Copies a file, or a directory without the unused parts.
fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_all(from, to).with_context(|| format!("can't copy {}", from.display()))
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !UNUSED.iter().any(|unused| entry.file_name() == *unused) {
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_a_directory_without_unused_parts() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for name in ["a/b.py", "a/__pycache__/b.pyc", "test/t.py"] {
            let path = from.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        copy(&from, &to).unwrap();
        assert!(to.join("a/b.py").is_file());
        assert!(!to.join("a/__pycache__").exists());
        assert!(!to.join("test").exists());
        assert!(copy(&from.join("nothing"), &to).is_err());
    }
}
