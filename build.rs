//! Makes a release build notice pages that were built after it: it embeds `web/dist/`, which may not be there yet.
//! A development build reads the folder while it runs, and has nothing to notice.

#[expect(clippy::disallowed_methods, reason = "a build script is told everything by its environment")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed=web/dist");
    }
}
