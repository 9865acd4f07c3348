//! A sealed recording from its bytes in the store to the officer's ear: object store, PostgreSQL, vault key, HTTP.

use std::sync::Arc;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tandem::clock::WallTime;
use tandem::recording::chain::NodeKey;
use tandem::recording::container::FileHeader;
use tandem::recording::io::catalog::Catalog;
use tandem::recording::io::export::Vault;
use tandem::recording::io::object_store::{VaultStore, object_of};
use tandem::recording::model::{RecordingEnded, RecordingMeta, RecordingState, SealedBy, SegmentOpened, SegmentStored};
use tandem::recording::seal::{DataKey, KeyScope, VaultKey};
use tandem::recording::segment::{OpenSegment, SegmentEnd};

use crate::api::Stage;
use crate::store::intent;

/// Frames of half a second in the recording.
const CHUNKS: u64 = 7;
/// Samples of one of them.
const CHUNK_SAMPLES: u64 = 4_000;

fn vault_key() -> VaultKey {
    VaultKey::of_bytes(&mut [5; 32]).unwrap()
}

/// Two channels that differ, at positions of chunk `chunk`.
fn pcm(chunk: u64) -> Vec<i16> {
    let samples = chunk * CHUNK_SAMPLES..(chunk + 1) * CHUNK_SAMPLES;
    samples.flat_map(|position| [(position % 400) as i16 * 50 - 10_000, (position % 36) as i16 * 90]).collect()
}

/// Seals a recording, puts it into the store, and writes its catalogue rows as the recorder does.
#[expect(clippy::too_many_lines, reason = "a recording from header to seal, in the order of its making")]
async fn record(stage: &Stage, store: &VaultStore, meta: &RecordingMeta) -> SegmentStored {
    let node_key = NodeKey::of_seed(&[6; 32]).unwrap();
    let scope = KeyScope { recording: meta.recording, segment_no: 0, epoch: 0 };
    let mut rng = StdRng::seed_from_u64(3);
    let key = DataKey::generate(scope, &mut rng).unwrap();
    stage.catalog.record_intent(meta).await.unwrap();
    stage.catalog.record_keys(&[key.wrap(vault_key().recipient(), node_key.node(), &mut rng).unwrap()]).await.unwrap();

    let header = FileHeader {
        flags: 0,
        recording: meta.recording,
        segment_no: 0,
        node: node_key.node(),
        start_utc_ns: meta.started.0,
        start_mono_ns: 0,
        sample_rate: 8_000,
        channels: 2,
        clock_state: 1,
        clock_err_us: 0,
        first_key_epoch: 0,
        key_commit: *key.commit(),
        prev_segment_root: [0; 32],
    };
    let (mut segment, head) = OpenSegment::open(header, key, 0, &node_key);
    let mut file = head.to_vec();
    for chunk in 0..CHUNKS {
        file.extend(segment.audio(&pcm(chunk)).unwrap());
    }
    let end = SegmentEnd { at: meta.started, end_reason: "hangup".to_owned(), channels: Default::default() };
    let sealed = segment.seal(&end, &node_key);
    file.extend(&sealed.chunk);

    let node = node_key.node();
    let facts = sealed.facts;
    let opened = SegmentOpened {
        recording: meta.recording,
        segment_no: 0,
        node,
        started: meta.started,
        sample_rate: 8_000,
        channels: 2,
    };
    stage.catalog.record_segment(&opened).await.unwrap();
    stage.catalog.record_sealed(&facts).await.unwrap();
    let object = object_of(&facts);
    store.put(&object, Bytes::from(file), &facts.sha256).await.unwrap();
    let stored = SegmentStored {
        recording: meta.recording,
        segment_no: 0,
        node,
        object,
        bytes: facts.bytes,
        sha256: facts.sha256,
    };
    stage.catalog.record_stored(&stored).await.unwrap();
    let ended = RecordingEnded {
        recording: meta.recording,
        node,
        state: RecordingState::Stored,
        answered: None,
        ended: WallTime(meta.started.0 + 1),
        samples: CHUNKS * CHUNK_SAMPLES,
        sample_rate: 8_000,
        segments: 1,
        end_reason: "hangup".to_owned(),
        sealed_by: SealedBy::Live,
    };
    stage.catalog.record_ended(&ended).await.unwrap();
    stored
}

#[tokio::test]
async fn an_officer_hears_exactly_what_was_recorded_and_a_flipped_byte_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = VaultStore::local(directory.path()).unwrap();
    let vault_store = store.clone();
    let spool = directory.path().join("spool");
    let stage = Stage::with_audio(|catalog| {
        Some(Arc::new(Vault::new(Arc::new(catalog.clone()), vault_store, spool, Some(Arc::new(vault_key())))))
    })
    .await;
    let meta = intent(0);
    let stored = record(&stage, &store, &meta).await;
    let path = format!("/api/v1/recordings/{}/audio", meta.recording);
    let carol = stage.cookie("carol").await;

    let whole = stage.get(&path, &carol, &[]).await;
    assert_eq!(whole.status, 200, "{}", String::from_utf8_lossy(&whole.body));
    let samples: Vec<u8> = (0..CHUNKS).flat_map(pcm).flat_map(i16::to_le_bytes).collect();
    assert_eq!(&whole.body[..4], b"RIFF");
    assert_eq!(whole.header("content-length"), Some((samples.len() + 44).to_string().as_str()));
    assert!(whole.body[44..] == samples, "sample for sample, both channels");

    let answer = stage.get(&path, &carol, &[("Range", "bytes=16039-16049")]).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.body, whole.body[16_039..=16_049], "over the edge of two chunks");

    let file = directory.path().join(&stored.object);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = stage.get(&path, &carol, &[]).await;
    assert_eq!((damaged.status, damaged.code().as_str()), (500, "audio.damaged"));
}

#[tokio::test]
async fn a_vault_without_its_private_key_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = VaultStore::local(directory.path()).unwrap();
    let vault_store = store.clone();
    let spool = directory.path().join("spool");
    let stage =
        Stage::with_audio(|catalog| Some(Arc::new(Vault::new(Arc::new(catalog.clone()), vault_store, spool, None))))
            .await;
    record(&stage, &store, &intent(0)).await;
    let carol = stage.cookie("carol").await;
    let answer = stage.get(&format!("/api/v1/recordings/{}/audio", intent(0).recording), &carol, &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "vault.absent"));
}
