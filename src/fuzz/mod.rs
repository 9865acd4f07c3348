//! Targets of `fuzz/`: what must hold for every input. A broken promise is a panic. `make test` replays the corpora.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a fuzz target tells a finding by a panic")]

pub mod media;
pub mod signaling;

/// A target: takes any bytes, and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("sip_message", signaling::sip_message),
    ("sip_stream", signaling::sip_stream),
    ("sip_uri", signaling::sip_uri),
    ("sdp", signaling::sdp),
    ("rtp", media::rtp),
    ("rtcp", media::rtcp),
    ("telephone_event", media::telephone_event),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_input_of_the_corpora_keeps_every_promise() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, target) in TARGETS {
            let mut replayed = 0;
            for entry in fs::read_dir(root.join("fuzz/corpus").join(name)).unwrap() {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                target(&fs::read(&path).unwrap());
                replayed += 1;
            }
            assert!(replayed >= 8, "{name}: {replayed} inputs");
        }
        for entry in fs::read_dir(root.join("sip-tests/torture")).unwrap() {
            let path = entry.unwrap().path();
            let message = fs::read(&path).unwrap();
            println!("{}", path.display());
            signaling::sip_message(&message);
            signaling::sip_stream(&[&[7], &message[..]].concat());
        }
    }
}
