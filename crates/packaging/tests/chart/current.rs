//! What is generated is as its sources say.

use std::fs;
use std::path::Path;

use packaging::{Files, Helm, chart_files, checkout, deploy_files};

#[test]
fn what_is_generated_is_current() {
    let checkout = checkout();
    for (path, text) in generated(&checkout) {
        let present = fs::read_to_string(checkout.join(&path)).unwrap_or_default();
        assert!(present == text, "{} is out of date: run make manifests", path.display());
    }
}

#[test]
fn nothing_is_left_over_from_earlier() {
    let checkout = checkout();
    let written = generated(&checkout);
    let by_hand = |path: &Path| path.file_name().is_some_and(|name| name == "kustomization.yaml");
    let mut folders =
        vec![checkout.join("deploy"), checkout.join("charts/auth0-rotator/files/crds")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let relative = path.strip_prefix(&checkout).unwrap();
                let known = written.contains_key(relative) || by_hand(relative);
                assert!(known, "nothing writes {}", relative.display());
            }
        }
    }
}

fn generated(checkout: &Path) -> Files {
    let mut files = chart_files(checkout).unwrap();
    files.extend(deploy_files(checkout, &Helm::find().unwrap()).unwrap());
    files
}
