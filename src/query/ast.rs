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
    /// `starts_with(field, value)`
    StartsWith,
    /// `ends_with(field, value)`
    EndsWith,
    /// `contains(field, value)`
    Contains,
}

/// How a field is compared with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// With one value.
    Compare(Operator),
    /// `in (…)`: equal to one of the values.
    In,
    /// `between … and …`: from the first value to the second, both included.
    Between,
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

/// A value with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operand {
    /// The value.
    pub value: Value,
    /// Its position.
    pub at: Spot,
}

/// `count(…)` or `sum(…)` over the records of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// `count` or `sum`.
    pub function: Name,
    /// The label of the source.
    pub label: Name,
    /// The object.
    pub object: Name,
    /// The conditions on the records; `None` for all records of a company.
    pub inner: Option<Box<Ast>>,
    /// The key, and perhaps a part, of the field that is added up; empty for `count`.
    pub field: Vec<Name>,
}

/// What a restriction or a sort key is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A field: the names that were joined by dots.
    Field(Vec<Name>),
    /// A count or a sum.
    Measure(Measure),
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
    /// One restriction.
    Restriction {
        /// What it is about.
        subject: Subject,
        /// How it is compared.
        relation: Relation,
        /// The position of the operator, or of the name of the function.
        at: Spot,
        /// The values: two for `between`, at least one for `in`, else one.
        values: Vec<Operand>,
    },
}
