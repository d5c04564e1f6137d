//! The syntax tree of a query.

/// A dotted name and its position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    pub(crate) parts: Vec<String>,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Select {
    Field(Path),
    /// `toLabel(x)`, `convertCurrency(x)`, `format(x)`.
    Shown {
        how: Shown,
        path: Path,
        alias: Option<String>,
    },
    /// `COUNT()` alone.
    Count,
    Aggregate {
        function: Function,
        path: Path,
        alias: Option<String>,
    },
    Fields {
        which: Which,
        at: usize,
    },
    Children(Box<Query>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Plain,
    Label,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    CountDistinct,
    Min,
    Max,
    Sum,
    Avg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    Standard,
    Custom,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Num(f64),
    Text(String),
    Date(i32),
    Instant(i64),
    /// `TODAY`, `LAST_N_DAYS:30`, ...: a range of days, without its end.
    Days(i32, i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cond {
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Compare {
        path: Path,
        op: Op,
        value: Literal,
        at: usize,
    },
    In {
        path: Path,
        not: bool,
        values: Vec<Literal>,
        at: usize,
    },
    InQuery {
        path: Path,
        not: bool,
        query: Box<Query>,
    },
    Includes {
        path: Path,
        not: bool,
        values: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) path: Path,
    pub(crate) descending: bool,
    pub(crate) nulls_first: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) select: Vec<Select>,
    /// `Account`, or a relationship (`Contacts`, `Account.Contacts`) in a sub-query.
    pub(crate) from: Path,
    pub(crate) alias: Option<String>,
    pub(crate) filter: Option<Cond>,
    pub(crate) group: Vec<Path>,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: Option<u64>,
}
