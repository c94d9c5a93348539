//! The generated files in the repository match their sources.

use std::{fs, path::Path};

use xtask::{
    BENCH_RESULTS, GeneratedFiles, Helm, chart_files, deploy_files, large_installations,
    reason_files, workspace_root,
};

#[test]
fn generated_files_are_up_to_date() {
    let root = workspace_root();
    for (path, text) in generate(&root) {
        let present = fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(present == text, "{} is out of date: run make manifests", path.display());
    }
}

#[test]
fn table_of_reasons_is_up_to_date() {
    for (path, text) in reason_files() {
        let present = fs::read_to_string(workspace_root().join(&path)).unwrap_or_default();
        assert!(present == text, "{} is out of date: run make reasons", path.display());
    }
}

#[test]
fn costs_of_large_installations_follow_from_the_last_benchmark() {
    let root = workspace_root();
    // Until the first full run of `make bench`, the page has the figures of earlier measurements.
    if !root.join(BENCH_RESULTS).exists() {
        return;
    }
    for (path, text) in large_installations(&root).unwrap() {
        let present = fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(present == text, "{} is out of date: run make large-installations", path.display());
    }
}

#[test]
fn generated_folders_contain_no_stale_files() {
    let root = workspace_root();
    let generated = generate(&root);
    let is_handwritten =
        |path: &Path| path.file_name().is_some_and(|name| name == "kustomization.yaml");
    let mut folders = vec![root.join("deploy"), root.join("charts/auth0-rotator/files/crds")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let relative = path.strip_prefix(&root).unwrap();
                let is_expected = generated.contains_key(relative) || is_handwritten(relative);
                assert!(is_expected, "make manifests doesn't write {}", relative.display());
            }
        }
    }
}

fn generate(root: &Path) -> GeneratedFiles {
    let mut files = chart_files(root).unwrap();
    files.extend(deploy_files(root, &Helm::find_or_build().unwrap()).unwrap());
    files
}
