//! The audit log in PostgreSQL: appended by the database's own function, checked here.

use async_trait::async_trait;

use crate::auth::io::audit::{AuditEntry, AuditError, AuditLog, AuditReceipt};
use crate::store::audit_chain::{AuditFault, AuditLine, CHAINS, ChainWalk};
use crate::store::catalog::clean;
use crate::store::pool::Pool;
use crate::store::pool::StoreError;
use crate::store::pool::within;

/// Lines read at a time while the log is checked.
const PAGE_LINES: i64 = 1_000;

/// See the module.
#[derive(Debug, Clone)]
pub struct PostgresAudit {
    pool: Pool,
}

/// What a check of the whole log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// How many lines were checked.
    pub lines: u64,
    /// Everything that is wrong with them.
    pub faults: Vec<AuditFault>,
}

impl PostgresAudit {
    /// The audit log over these connections.
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Walks all chains from their beginning to their heads.
    pub async fn verify(&self) -> Result<AuditReport, StoreError> {
        let mut report = AuditReport { lines: 0, faults: Vec::new() };
        for chain in 0..i16::from(CHAINS) {
            // The head first: a line appended meanwhile lies beyond it and is not read.
            let head = sqlx::query!("SELECT seq, hash FROM access_audit_head WHERE chain = $1", chain);
            let head = within(head.fetch_optional(self.pool.connections())).await?;
            let (head_seq, head_hash) = head.map_or((0, Vec::new()), |head| (head.seq, head.hash));
            let mut walk = ChainWalk::new(chain);
            report.lines += self.walk(&mut walk, chain, head_seq).await?;
            report.faults.extend(walk.finish(head_seq, &head_hash));
        }
        Ok(report)
    }

    /// Reads a chain up to `until`, page by page, and gives the number of its lines.
    async fn walk(&self, walk: &mut ChainWalk, chain: i16, until: i64) -> Result<u64, StoreError> {
        let mut lines = 0;
        let mut page = self.page(chain, 0, until).await?;
        while !page.is_empty() {
            lines += page.len() as u64;
            for line in &page {
                walk.handle(line);
            }
            page = self.page(chain, walk.seq(), until).await?;
        }
        Ok(lines)
    }

    async fn page(&self, chain: i16, after: i64, until: i64) -> Result<Vec<AuditLine>, StoreError> {
        let select = sqlx::query_as!(
            AuditLine,
            "SELECT chain, seq, node_id, at_us, actor, action, object, peer, detail, prev_hash, hash FROM access_audit \
             WHERE chain = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4",
            chain,
            after,
            until,
            PAGE_LINES
        );
        within(select.fetch_all(self.pool.connections())).await
    }
}

#[async_trait]
impl AuditLog for PostgresAudit {
    async fn append(&self, entry: &AuditEntry) -> Result<AuditReceipt, AuditError> {
        let node = self.pool.node();
        let append = sqlx::query!(
            "SELECT out_chain AS \"chain!\", out_seq AS \"seq!\" FROM audit_append($1, $2, $3, $4, $5, $6)",
            node.as_bytes().as_slice(),
            clean(&entry.actor),
            entry.action.as_str(),
            clean(&entry.object),
            clean(&entry.peer),
            clean(&entry.detail)
        );
        let row =
            within(append.fetch_one(self.pool.connections())).await.map_err(|error| AuditError(Box::new(error)))?;
        Ok(AuditReceipt {
            chain: u8::try_from(row.chain).unwrap_or_default(),
            seq: u64::try_from(row.seq).unwrap_or_default(),
        })
    }
}
