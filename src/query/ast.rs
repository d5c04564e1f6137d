//! A filter as it was written, with positions.

/// A place in a filter or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Characters before it.
    pub position: usize,
    /// What stands there.
    pub token: String,
}

/// A name: a label, a key, a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub spot: Spot,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `:`
    Has,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `*` after `:`.
    Any,
    /// A word.
    Word(String),
    /// A string; `*` at its ends taken off.
    Text {
        /// It began with `*`.
        before: bool,
        /// What stood between.
        text: String,
        /// It ended with `*`.
        after: bool,
    },
    /// A number, with its sign.
    Number(String),
    /// A day, in days since 1970.
    Date(i64),
    /// A moment, in unix microseconds.
    Moment(i64),
    /// A time of day, in microseconds.
    Time(i64),
    /// `today` or `now`, so many units away.
    Relative {
        /// `now`, not `today`.
        now: bool,
        /// How many, and of what: `d`, `w`, `m`, `y`.
        offset: Option<(i64, char)>,
    },
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ast {
    /// All hold.
    And(Vec<Self>),
    /// One holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// One and the same record.
    Same {
        /// The source.
        label: Name,
        /// The object.
        object: Name,
        /// What holds of the record.
        inner: Box<Self>,
    },
    /// One condition.
    Restriction {
        /// The names, as they were joined by points.
        field: Vec<Name>,
        /// How it is compared.
        operator: Operator,
        /// Where the operator stands.
        at: Spot,
        /// With what.
        value: Value,
        /// Where that stands.
        value_at: Spot,
    },
}
