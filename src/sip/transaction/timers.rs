//! The timer values and names of RFC 3261 17 and RFC 6026 7.

use std::time::Duration;

/// T1, T2 and T4 (RFC 3261, table 4), from which every other timer is reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Estimate of the round trip; above zero.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and INVITE responses; at least T1.
    pub t2: Duration,
    /// How long a message may linger in the network.
    pub t4: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timing {
    /// 64·T1: how long a transaction waits for its end (timers B, F, H, J, L, M).
    pub const fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// Timer D: how long a client waits for retransmitted final responses to INVITE. At least 32 s over UDP
    /// (RFC 3261 17.1.1.2), which is 64·T1 by default.
    pub const fn wait_for_response_retransmits(&self) -> Duration {
        self.patience()
    }

    /// The interval after `interval`: doubled, at most T2.
    pub fn doubled(&self, interval: Duration) -> Duration {
        interval.saturating_mul(2).min(self.t2)
    }
}

/// The timers of the four transaction machines, by their letters in RFC 3261 table 4 and RFC 6026.
///
/// Timer C is missing: only proxies have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionTimer {
    /// INVITE request retransmission, unreliable transports only.
    A,
    /// INVITE transaction timeout.
    B,
    /// Wait for retransmitted final responses to INVITE.
    D,
    /// Non-INVITE request retransmission, unreliable transports only.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response retransmission, unreliable transports only.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for retransmitted ACKs.
    I,
    /// Wait for retransmitted non-INVITE requests.
    J,
    /// Wait for retransmitted non-INVITE responses.
    K,
    /// Wait for retransmitted INVITEs after a 2xx (RFC 6026).
    L,
    /// Wait for retransmitted 2xx and for 2xx of other forks (RFC 6026).
    M,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_sixty_four_times_t1() {
        assert_eq!(Timing::default().patience(), Duration::from_secs(32));
    }

    #[test]
    fn intervals_double_up_to_t2() {
        let timing = Timing::default();
        let mut interval = timing.t1;
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(interval.as_millis());
            interval = timing.doubled(interval);
        }
        assert_eq!(seen, [500, 1000, 2000, 4000, 4000]);
    }
}
