//! The store against a real PostgreSQL.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tandem::auth::io::audit::{AuditAction, AuditEntry, AuditLog};
use tandem::call::CallQuality;
use tandem::call::CallRecord;
use tandem::call::io::records::CallRecords as _;
use tandem::call::quality::{LegSummary, StreamSummary};
use tandem::clock::WallTime;
use tandem::demo::servers::PostgresServer;
use tandem::ids::{CallId, Extension, NodeId, RecordingId, SessionId, TrunkName};
use tandem::recording::io::catalog::{Catalog, CatalogError};
use tandem::recording::model::{
    FailureReason, ListCursor, NumberFilter, RecordingEnded, RecordingFailed, RecordingFilter, RecordingMeta,
    RecordingState, SealedBy, SegmentOpened, SegmentSealed, SegmentStored, WrappedKey,
};
use tandem::recording::{CallDirection, Obligation};
use tandem::store::audit::PostgresAudit;
use tandem::store::audit_chain::{FaultKind, chain_of};
use tandem::store::call_records::CallRecords;
use tandem::store::catalog::PostgresCatalog;
use tandem::store::{Pool, StoreError, migrate};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::servers::directory;

const NODE: NodeId = NodeId::from_bytes([7; 16]);
/// 2026-11-22T12:00:00Z.
const NOON: WallTime = WallTime(1_795_348_800_000_000_000);

/// A migrated database.
pub(crate) async fn database() -> (PostgresServer, Pool, tempfile::TempDir) {
    let directory = directory();
    let server = PostgresServer::launch(directory.path()).await.unwrap();
    migrate(&server.owner_url()).await.unwrap();
    let pool = Pool::new(&server.url(), 5, NODE).unwrap();
    (server, pool, directory)
}

/// A recording's intent, told apart by `n`, started `n` minutes after noon.
pub(crate) fn intent(n: u64) -> RecordingMeta {
    RecordingMeta {
        recording: RecordingId::from_uuid(Uuid::from_u128(u128::from(n) + 1)),
        node: NODE,
        call: CallId::from_uuid(Uuid::from_u128(u128::from(n) + 1_000)),
        session_id: SessionId::from_bytes([9; 16]),
        started: NOON.after(Duration::from_secs(60 * n)),
        agent: Extension::new(format!("100{}", n % 2 + 1)),
        agent_user: "alice".to_owned(),
        agent_name: "Alice Agent".to_owned(),
        remote_number: format!("+49301234{n:02}"),
        remote_name: Some("Caller <script>".to_owned()),
        direction: CallDirection::Inbound,
        trunk: TrunkName::new("pbx"),
        obligation: Obligation::Required,
    }
}

fn sealed(recording: RecordingId, segment_no: u32) -> SegmentSealed {
    SegmentSealed {
        recording,
        segment_no,
        node: NODE,
        started: NOON,
        ended: NOON.after(Duration::from_secs(5)),
        first_sample: 0,
        samples: 40_000,
        chunks: 11,
        bytes: 50_000,
        sha256: [1; 32],
        merkle_root: [2; 32],
        sealed_by: SealedBy::Live,
    }
}

fn ended(recording: RecordingId, state: RecordingState) -> RecordingEnded {
    RecordingEnded {
        recording,
        node: NODE,
        state,
        answered: Some(NOON.after(Duration::from_secs(1))),
        ended: NOON.after(Duration::from_secs(6)),
        samples: 40_000,
        sample_rate: 8_000,
        segments: 1,
        end_reason: "hangup".to_owned(),
        sealed_by: SealedBy::Live,
    }
}

/// Writes one recording all the way to `Stored`.
pub(crate) async fn store_recording(catalog: &dyn Catalog, meta: &RecordingMeta) {
    let recording = meta.recording;
    catalog.record_intent(meta).await.unwrap();
    let opened = SegmentOpened { recording, segment_no: 0, node: NODE, started: NOON, sample_rate: 8_000, channels: 2 };
    catalog.record_segment(&opened).await.unwrap();
    catalog.record_sealed(&sealed(recording, 0)).await.unwrap();
    let stored = SegmentStored {
        recording,
        segment_no: 0,
        node: NODE,
        object: "a/b".to_owned(),
        bytes: 50_000,
        sha256: [1; 32],
    };
    catalog.record_stored(&stored).await.unwrap();
    catalog.record_ended(&ended(recording, RecordingState::Stored)).await.unwrap();
}

async fn count(server: &PostgresServer, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(&server.superuser_url()).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

async fn as_user(url: &str, sql: &'static str) -> Result<u64, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.map(|done| done.rows_affected())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one recording's life, written twice at each step")]
async fn every_write_twice_leaves_one_row_and_states_never_go_back() {
    let (server, pool, _directory) = database().await;
    migrate(&server.owner_url()).await.expect("migrating again changes nothing");
    let catalog = PostgresCatalog::new(pool);
    let meta = intent(0);
    let recording = meta.recording;
    let key = WrappedKey {
        recording,
        segment_no: 0,
        epoch: 0,
        node: NODE,
        recipient: "00ff".to_owned(),
        encapsulated: vec![3; 32],
        ciphertext: vec![4; 48],
        key_commit: [5; 32],
    };
    let opened = SegmentOpened { recording, segment_no: 0, node: NODE, started: NOON, sample_rate: 8_000, channels: 2 };
    let stored = SegmentStored {
        recording,
        segment_no: 0,
        node: NODE,
        object: "a/b".to_owned(),
        bytes: 50_000,
        sha256: [1; 32],
    };

    assert!(
        matches!(catalog.record_ended(&ended(recording, RecordingState::Sealed)).await, Err(CatalogError::Refused(_))),
        "no intent yet"
    );
    for round in 0..2 {
        catalog.record_intent(&meta).await.unwrap();
        catalog.record_keys(&[key.clone(), WrappedKey { epoch: 1, ..key.clone() }]).await.unwrap();
        catalog.record_segment(&opened).await.unwrap();
        let row = catalog.find(recording).await.unwrap().unwrap();
        assert_eq!(row.meta, meta);
        let expected = if round == 0 { RecordingState::Spooling } else { RecordingState::Stored };
        assert_eq!(row.state, expected, "round {round}");
        catalog.record_sealed(&sealed(recording, 0)).await.unwrap();
        catalog.record_ended(&ended(recording, RecordingState::Sealed)).await.unwrap();
        catalog.record_stored(&stored).await.unwrap();
        catalog.record_ended(&ended(recording, RecordingState::Stored)).await.unwrap();
    }
    let failed =
        RecordingFailed { recording, node: NODE, at: NOON, reason: FailureReason::NoFile, detail: "x".to_owned() };
    catalog.record_failed(&failed).await.unwrap();
    let row = catalog.find(recording).await.unwrap().unwrap();
    assert_eq!((row.state, row.failure, row.samples), (RecordingState::Stored, None, 40_000));
    assert_eq!(
        (row.end_reason.as_deref(), row.sealed_by, row.answered),
        (Some("hangup"), Some(SealedBy::Live), Some(NOON.after(Duration::from_secs(1))))
    );

    let segments = catalog.segments(recording).await.unwrap();
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].state, segments[0].object.as_deref()), (RecordingState::Stored, Some("a/b")));
    assert_eq!(segments[0].sealed, Some(sealed(recording, 0)));
    assert_eq!(catalog.wrapped_keys(recording).await.unwrap(), [key.clone(), WrappedKey { epoch: 1, ..key }]);

    // Other bytes than those that were sealed are not "stored".
    let other = SegmentStored { sha256: [6; 32], ..stored };
    assert!(matches!(catalog.record_stored(&other).await, Err(CatalogError::Refused(_))));

    let nul = RecordingMeta { remote_name: Some("a\0b".to_owned()), ..intent(1) };
    catalog.record_intent(&nul).await.unwrap();
    catalog.record_failed(&RecordingFailed { recording: nul.recording, ..failed }).await.unwrap();
    let row = catalog.find(nul.recording).await.unwrap().unwrap();
    assert_eq!((row.state, row.failure), (RecordingState::Failed, Some(FailureReason::NoFile)));
    assert_eq!(count(&server, "SELECT count(*) FROM recording").await, 2);
    assert_eq!(count(&server, "SELECT count(*) FROM recording_key").await, 2);
}

#[tokio::test]
async fn a_month_that_is_made_late_takes_over_its_rows() {
    let (server, pool, _directory) = database().await;
    let catalog = PostgresCatalog::new(pool.clone());
    let (now, later) = (intent(1), RecordingMeta { started: NOON.after(Duration::from_hours(400 * 24)), ..intent(2) });
    catalog.record_intent(&now).await.unwrap();
    catalog.record_intent(&later).await.unwrap();

    pool.make_partitions(NOON.to_utc().date()).await.unwrap();

    assert_eq!(count(&server, "SELECT count(*) FROM recording_2026_11").await, 1);
    assert_eq!(count(&server, "SELECT count(*) FROM recording_default").await, 1);
    assert_eq!(catalog.find(now.recording).await.unwrap().unwrap().meta.agent_user, "alice");
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_and_filters_narrow() {
    let (server, pool, _directory) = database().await;
    let today = NOON.to_utc().date();
    pool.make_partitions(today).await.unwrap();
    pool.make_partitions(today).await.unwrap();
    let catalog = PostgresCatalog::new(pool);
    for n in 0..25 {
        // Two of each time, so that ties must be broken by the id.
        catalog.record_intent(&RecordingMeta { started: intent(n / 2 * 2).started, ..intent(n) }).await.unwrap();
    }
    let other_month = RecordingMeta { started: NOON.after(Duration::from_hours(400 * 24)), ..intent(99) };
    catalog.record_intent(&other_month).await.unwrap();
    assert_eq!(count(&server, "SELECT count(*) FROM recording_2026_11").await, 25);
    assert_eq!(count(&server, "SELECT count(*) FROM recording_default").await, 1);

    let mut seen = Vec::new();
    let mut filter = RecordingFilter { limit: 10, ..RecordingFilter::default() };
    loop {
        let page = catalog.list(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some(ListCursor { started: last.meta.started, recording: last.meta.recording });
        seen.extend(page.iter().map(|row| (row.meta.started, row.meta.recording)));
    }
    assert_eq!(seen.len(), 26);
    assert!(seen.is_sorted_by(|earlier, later| earlier > later), "newest first, no row twice");

    let numbers = async |number| {
        let filter = RecordingFilter { number: Some(number), ..RecordingFilter::default() };
        catalog.list(&filter).await.unwrap().len()
    };
    assert_eq!(numbers(NumberFilter::Exact("+4930123407".to_owned())).await, 1);
    assert_eq!(numbers(NumberFilter::Exact("+493012340".to_owned())).await, 0);
    assert_eq!(numbers(NumberFilter::Prefix("+4930123".to_owned())).await, 26);
    assert_eq!(numbers(NumberFilter::Prefix("+493012341".to_owned())).await, 10);
    assert_eq!(numbers(NumberFilter::Substring("1234".to_owned())).await, 26);
    assert_eq!(numbers(NumberFilter::Substring("%".to_owned())).await, 0);
    let agent = RecordingFilter {
        agent: Some(Extension::new("1001")),
        until: Some(intent(25).started),
        ..RecordingFilter::default()
    };
    assert_eq!(catalog.list(&agent).await.unwrap().len(), 13);
    let stored = RecordingFilter { state: Some(RecordingState::Stored), ..RecordingFilter::default() };
    assert_eq!(catalog.list(&stored).await.unwrap(), []);
}

fn entry(actor: &str, n: usize) -> AuditEntry {
    AuditEntry {
        actor: actor.to_owned(),
        action: AuditAction::PlayRecording,
        object: format!("öbject {n}"),
        peer: "127.0.0.1".to_owned(),
        detail: "bytes 0-1/2".to_owned(),
    }
}

#[tokio::test]
async fn the_gateway_can_append_to_the_audit_log_and_do_nothing_else_to_it() {
    let (server, pool, _directory) = database().await;
    let audit = PostgresAudit::new(pool);
    let receipt = audit.append(&entry("carol", 0)).await.unwrap();
    assert_eq!((receipt.chain, receipt.seq), (chain_of("carol"), 1));

    let zero = "INSERT INTO access_audit SELECT 0, 1, node_id, at_us, actor, action, object, peer, detail, prev_hash, hash FROM access_audit";
    for forbidden in [
        zero,
        "UPDATE access_audit SET actor = 'x'",
        "DELETE FROM access_audit",
        "TRUNCATE access_audit",
        "UPDATE access_audit_head SET seq = 0",
        "DROP TABLE access_audit",
        "ALTER TABLE access_audit DISABLE TRIGGER ALL",
        "DELETE FROM recording_key",
        "UPDATE recording_key SET epoch = 1",
        "DELETE FROM recording",
    ] {
        let refused = as_user(&server.url(), forbidden).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{forbidden}");
    }
    for careless in ["UPDATE access_audit SET actor = 'x'", "DELETE FROM access_audit", "TRUNCATE access_audit"] {
        assert!(as_user(&server.owner_url(), careless).await.is_err(), "the owner, by mistake: {careless}");
    }
    assert_eq!(audit.verify().await.unwrap().faults, []);
}

async fn append_lines(audit: PostgresAudit, actor: &'static str) {
    for n in 0..12 {
        audit.append(&entry(actor, n)).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_a_dishonest_administrator_changes_in_the_audit_log_is_found() {
    let (server, pool, _directory) = database().await;
    let audit = PostgresAudit::new(pool);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..5 {
        writers.spawn(append_lines(audit.clone(), ["carol", "uma", "dan", "sam", "alice"][writer]));
    }
    writers.join_all().await;
    let report = audit.verify().await.unwrap();
    assert_eq!((report.lines, report.faults), (60, vec![]));

    let chain = i16::from(chain_of("carol"));
    let tamperings: [(&str, FaultKind); 6] = [
        ("UPDATE access_audit SET object = 'another' WHERE chain = $1 AND seq = 5", FaultKind::Edited),
        ("UPDATE access_audit SET at_us = at_us + 1 WHERE chain = $1 AND seq = 5", FaultKind::Edited),
        (
            "UPDATE access_audit SET object = 'another', hash = sha256(audit_canonical(chain, seq, prev_hash, node_id, at_us, actor, action, \
             'another', peer, detail)) WHERE chain = $1 AND seq = 5",
            FaultKind::Unlinked,
        ),
        ("DELETE FROM access_audit WHERE chain = $1 AND seq = 5", FaultKind::Missing),
        (
            "DELETE FROM access_audit WHERE chain = $1 AND seq = (SELECT max(seq) FROM access_audit WHERE chain = $1)",
            FaultKind::Truncated,
        ),
        ("DELETE FROM access_audit_head WHERE chain = $1", FaultKind::Truncated),
    ];
    let mut connection = PgConnection::connect(&server.superuser_url()).await.unwrap();
    // The superuser steps over the triggers.
    sqlx::query("SET session_replication_role = replica").execute(&mut connection).await.unwrap();
    for table in ["access_audit", "access_audit_head"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE TABLE kept_{table} AS TABLE {table}")))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    for (sql, kind) in tamperings {
        sqlx::query(sql).bind(chain).execute(&mut connection).await.unwrap();
        let faults = audit.verify().await.unwrap().faults;
        assert!(!faults.is_empty() && faults.iter().all(|fault| fault.chain == chain), "{sql}: {faults:?}");
        assert!(faults.iter().any(|fault| fault.kind == kind), "{sql}: {faults:?}");
        for table in ["access_audit", "access_audit_head"] {
            let restore = format!("DELETE FROM {table}; INSERT INTO {table} TABLE kept_{table}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(restore)).execute(&mut connection).await.unwrap();
        }
        assert_eq!(audit.verify().await.unwrap().faults, [], "restored");
    }
}

#[tokio::test]
async fn a_database_that_stops_or_hangs_is_told_in_time_and_found_again() {
    let (mut server, pool, _directory) = database().await;
    let catalog = PostgresCatalog::new(pool.clone());
    let shutdown = CancellationToken::new();
    let watching = tokio::spawn(pool.clone().watch_health(shutdown.clone()));
    let mut health = pool.health();
    let within = async |health: &mut tokio::sync::watch::Receiver<Result<(), String>>, ok: bool| {
        let seen = tokio::time::timeout(Duration::from_secs(20), health.wait_for(|seen| seen.is_ok() == ok)).await;
        seen.unwrap_or_else(|_| panic!("never became {ok}")).unwrap().clone()
    };
    within(&mut health, true).await.unwrap();
    catalog.record_intent(&intent(0)).await.unwrap();

    server.stop();
    let refused = tokio::time::timeout(Duration::from_secs(8), catalog.record_intent(&intent(1)))
        .await
        .expect("it must not wait for ever");
    assert!(matches!(refused, Err(CatalogError::Unavailable(_))), "{refused:?}");
    let reason = within(&mut health, false).await.unwrap_err();
    assert!(reason.contains("cannot be reached"), "{reason}");

    server.start().await.unwrap();
    within(&mut health, true).await.unwrap();
    catalog.record_intent(&intent(1)).await.unwrap();
    assert_eq!(count(&server, "SELECT count(*) FROM recording").await, 2);

    // Hung, not gone: every process of it stopped.
    signal_all(&server, "-STOP");
    let refused = tokio::time::timeout(Duration::from_secs(12), catalog.record_intent(&intent(2))).await;
    signal_all(&server, "-CONT");
    assert!(matches!(refused.expect("it must not wait for ever"), Err(CatalogError::Unavailable(_))));
    within(&mut health, true).await.unwrap();
    catalog.record_intent(&intent(2)).await.unwrap();
    shutdown.cancel();
    watching.await.unwrap();
}

/// Signals the postmaster and its own children, by their ids. A child may have ended by itself meanwhile.
fn signal_all(server: &PostgresServer, signal: &str) {
    let kill = |pid: &str| {
        std::process::Command::new("kill")
            .args([signal, pid])
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    let postmaster = server.pid().unwrap().to_string();
    assert!(kill(&postmaster));
    let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
    assert!(children.split_whitespace().filter(|child| kill(child)).count() > 0);
}

#[tokio::test]
async fn an_empty_schema_and_a_wrong_address_are_said_plainly() {
    let directory = directory();
    let server = PostgresServer::launch(directory.path()).await.unwrap();
    let pool = Pool::new(&server.url(), 2, NODE).unwrap();
    let error = pool.probe().await.unwrap_err().to_string();
    assert!(error.contains("run `tandem migrate`"), "{error}");
    migrate(&server.owner_url()).await.unwrap();
    pool.probe().await.unwrap();
    assert!(matches!(Pool::new("mysql://x", 2, NODE), Err(StoreError::Address(_))));
}

#[tokio::test]
async fn a_call_record_grows_and_nothing_known_is_unwritten() {
    let (server, pool, _directory) = database().await;
    let records = CallRecords::new(pool);
    let begun = CallRecord {
        call: CallId::from_uuid(Uuid::from_u128(5)),
        session_id: SessionId::from_bytes([9; 16]),
        started: NOON,
        direction: CallDirection::Outbound,
        trunk: TrunkName::new("pbx"),
        remote_number: "+4930".to_owned(),
        remote_name: None,
        sip_call_id: None,
        extension: Extension::new("1001"),
        agent_user: Some("alice".to_owned()),
        answered: None,
        ended: None,
        end_reason: None,
        sip_status: None,
        q850: None,
        recording: None,
        recording_exception: None,
        srtp_downgraded: false,
        joined_with: None,
        quality: None,
    };
    let stream = StreamSummary { stretches: 2, loss: 0.25, jitter_ms_max: 8.0, mos: 4.0, mos_min: 3.5 };
    let trunk = LegSummary { received: Some(stream), sent: None };
    let quality = CallQuality { agent: LegSummary::default(), trunk };
    let over = CallRecord {
        answered: Some(NOON.after(Duration::from_secs(2))),
        ended: Some(NOON.after(Duration::from_secs(9))),
        end_reason: Some("hangup".into()),
        srtp_downgraded: true,
        joined_with: Some(CallId::from_uuid(Uuid::from_u128(6))),
        quality: Some(quality),
        sip_status: Some(200),
        q850: Some(16),
        ..begun.clone()
    };
    for row in [&begun, &over, &over, &begun] {
        records.upsert(row).await.unwrap();
    }
    let same = "SELECT count(*) FROM call_record WHERE outcome = 'hangup' AND srtp_downgraded AND q850 = 16 AND ended_at - answered_at = interval '7 seconds' \
                AND octet_length(node_id) = 16 AND (quality #>> '{trunk,received,mos_min}')::real = 3.5";
    assert_eq!(count(&server, same).await, 1);
    assert_eq!(count(&server, "SELECT count(*) FROM call_record").await, 1);
}
