//! Where a number leads: to an agent of ours, to a trunk, or nowhere. Pure.

pub mod dial_plan;
pub mod hunt;

pub use dial_plan::Denied;
pub use dial_plan::DialPlan;
pub use dial_plan::DialRule;
pub use dial_plan::Emergency;
pub use dial_plan::ExtensionRange;
pub use dial_plan::Route;
pub use hunt::Group;
pub use hunt::Strategy;
