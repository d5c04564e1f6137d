//! The syntax tree of a filter, with positions for error messages.

/// A position in a filter or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Number of characters before it.
    pub position: usize,
    /// The token at this position.
    pub token: String,
}

/// A name in a filter: a label, an object, a key or a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Its position.
    pub spot: Spot,
}

/// Comparison operators.
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
    /// A string, without the `*` at its ends.
    Text {
        /// It began with `*`.
        before: bool,
        /// The text between the stars.
        text: String,
        /// It ended with `*`.
        after: bool,
    },
    /// A number, with its sign.
    Number(String),
    /// A date, in days since 1970-01-01.
    Date(i64),
    /// A timestamp, in Unix microseconds.
    Moment(i64),
    /// A time of day, in microseconds.
    Time(i64),
    /// `today` or `now`, with an optional offset.
    Relative {
        /// True for `now`, false for `today`.
        now: bool,
        /// The offset and its unit: `d`, `w`, `m` or `y`.
        offset: Option<(i64, char)>,
    },
}

/// A filter expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ast {
    /// All conditions hold.
    And(Vec<Self>),
    /// At least one condition holds.
    Or(Vec<Self>),
    /// The condition does not hold.
    Not(Box<Self>),
    /// All conditions hold for the same record: `label.Object(...)`.
    Same {
        /// The label of the source.
        label: Name,
        /// The object.
        object: Name,
        /// The conditions.
        inner: Box<Self>,
    },
    /// One condition.
    Restriction {
        /// The names that were joined by dots.
        field: Vec<Name>,
        /// The operator.
        operator: Operator,
        /// The position of the operator.
        at: Spot,
        /// The value.
        value: Value,
        /// The position of the value.
        value_at: Spot,
    },
}
