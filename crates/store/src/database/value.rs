//! What goes into a column or a parameter: numbers, truth values and texts, which are all that both databases have alike.

use domain::config::secrets::Layer;
use domain::id::{
    AgentId, GroupId, ProjectId, ResourcePool, SessionId, TaskId, TokenId, UserId, WorkspaceId,
};
use domain::scheduler::Weight;
use domain::task::{DESCRIPTION, REASON};
use domain::text::Plain;
use domain::time::Timestamp;

/// A value, or none; the kind is known in either case, for PostgreSQL asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Bool(Option<bool>),
    Text(Option<String>),
}

impl Value {
    /// How many bytes of text it is.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Text(Some(text)) => text.len(),
            _ => 0,
        }
    }
}

/// What is stored as one value.
pub(crate) trait Stored {
    /// None of it.
    const NONE: Value;
    /// The value.
    fn value(&self) -> Value;
}

impl<T: Stored + ?Sized> Stored for &T {
    const NONE: Value = T::NONE;
    fn value(&self) -> Value {
        (**self).value()
    }
}

impl<T: Stored> Stored for Option<T> {
    const NONE: Value = T::NONE;
    fn value(&self) -> Value {
        self.as_ref().map_or(T::NONE, Stored::value)
    }
}

/// Declares how types are stored: `Type as Kind, |this| …`.
macro_rules! stored {
    ($($type:ty as $kind:ident, |$this:ident| $value:expr;)*) => {$(
        impl Stored for $type {
            const NONE: Value = Value::$kind(None);
            fn value(&self) -> Value {
                let $this = self;
                Value::$kind(Some($value))
            }
        }
    )*};
}

stored! {
    bool as Bool, |this| *this;
    i64 as Int, |this| *this;
    i32 as Int, |this| i64::from(*this);
    u32 as Int, |this| i64::from(*this);
    str as Text, |this| this.to_owned();
    String as Text, |this| this.clone();
    Plain<DESCRIPTION> as Text, |this| this.to_string();
    Plain<REASON> as Text, |this| this.to_string();
    Timestamp as Int, |this| this.0;
    UserId as Int, |this| this.0;
    GroupId as Int, |this| this.0;
    WorkspaceId as Int, |this| this.0;
    ProjectId as Int, |this| this.0;
    SessionId as Int, |this| this.0;
    TokenId as Int, |this| this.0;
    TaskId as Text, |this| this.to_string();
    AgentId as Text, |this| this.as_str().to_owned();
    Layer as Text, |this| this.unmasked().to_string();
    domain::user::Status as Text, |this| this.as_str().to_owned();
    domain::token::Scope as Text, |this| this.as_str().to_owned();
    domain::registration::State as Text, |this| this.as_str().to_owned();
    domain::place::Role as Text, |this| this.as_str().to_owned();
    domain::throttle::Scope as Text, |this| this.as_str().to_owned();
    ResourcePool as Text, |this| this.as_str().to_owned();
    Weight as Int, |this| i64::from(this.thousandths());
    domain::kind::Kind as Text, |this| this.as_str().to_owned();
    domain::task::Standing as Text, |this| this.as_str().to_owned();
}
