//! Parses tokens into a query, by recursive descent.

use super::ast::{Cond, Function, Literal, Op, Order, Path, Query, Select, Shown, Which};
use super::lexer::{Kind, Token, tokens};
use super::literal::{days, number};
use crate::errors::Error;

/// Deeper nesting is refused: a query is external input and the stack is limited.
const DEEPEST: usize = 60;

/// Reads one query.
pub(crate) fn parse(soql: &str) -> Result<Query, Error> {
    if soql.trim().is_empty() {
        return Err(Error::malformed("A query string has to be specified"));
    }
    if soql.chars().count() > 100_000 {
        return Err(Error::malformed(
            "SOQL statements cannot be longer than 100000 characters.",
        ));
    }
    let mut parser = Parser {
        soql,
        tokens: tokens(soql)?,
        next: 0,
        depth: 0,
    };
    if !parser.peek().is_word("SELECT") {
        let word = parser.peek().shown();
        return Err(Error::malformed(format!(
            "unexpected token: {}",
            word.trim_matches('\'')
        )));
    }
    let query = parser.query()?;
    match parser.peek().kind {
        Kind::End => Ok(query),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    soql: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn peek_after(&self) -> &Token {
        &self.tokens[(self.next + 1).min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn unexpected(&self) -> Error {
        let token = self.peek();
        Error::at(
            "MALFORMED_QUERY",
            self.soql,
            token.at,
            &format!("unexpected token: {}", token.shown()),
        )
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek().kind, Kind::Sign(s) if s == sign)
    }

    fn try_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.next += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> Result<(), Error> {
        if self.try_sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn try_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_word(word);
        self.next += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        if self.try_word(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        const RESERVED: [&str; 16] = [
            "select", "from", "where", "and", "or", "not", "order", "group", "limit", "offset", "like", "in",
            "having", "null", "true", "false",
        ];
        match &self.peek().kind {
            Kind::Word(word) if !RESERVED.iter().any(|r| word.eq_ignore_ascii_case(r)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn path(&mut self) -> Result<Path, Error> {
        let at = self.peek().at;
        let mut parts = vec![self.name()?];
        while self.try_sign(".") {
            parts.push(self.name()?);
        }
        Ok(Path { parts, at })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEEPEST {
            return Err(Error::malformed("the query is nested too deeply"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn query(&mut self) -> Result<Query, Error> {
        self.word("SELECT")?;
        let mut select = vec![self.select()?];
        while self.try_sign(",") {
            select.push(self.select()?);
        }
        self.word("FROM")?;
        let from = self.path()?;
        let mut alias = None;
        if self.try_word("AS") {
            alias = Some(self.name()?);
        } else if let Kind::Word(word) = &self.peek().kind
            && ![
                "where", "order", "group", "limit", "offset", "for", "with", "using", "all", "having",
            ]
            .iter()
            .any(|k| word.eq_ignore_ascii_case(k))
        {
            alias = Some(self.name()?);
        }
        if self.try_word("USING") {
            self.word("SCOPE")?;
            self.name()?;
        }
        let filter = if self.try_word("WHERE") {
            Some(self.conditions()?)
        } else {
            None
        };
        let mut group = Vec::new();
        if self.try_word("GROUP") {
            self.word("BY")?;
            group.push(self.path()?);
            while self.try_sign(",") {
                group.push(self.path()?);
            }
        }
        let order = self.order()?;
        let limit = if self.try_word("LIMIT") {
            Some(self.count()?)
        } else {
            None
        };
        let offset = if self.try_word("OFFSET") {
            Some(self.count()?)
        } else {
            None
        };
        if self.try_word("FOR") && !(self.try_word("VIEW") || self.try_word("REFERENCE")) {
            return Err(self.unexpected());
        }
        Ok(Query {
            select,
            from,
            alias,
            filter,
            group,
            order,
            limit,
            offset,
        })
    }

    fn select(&mut self) -> Result<Select, Error> {
        if self.try_sign("(") {
            let query = self.deeper(Self::query)?;
            self.sign(")")?;
            return Ok(Select::Children(Box::new(query)));
        }
        let called = matches!(self.peek_after().kind, Kind::Sign("("));
        if !called {
            return Ok(Select::Field(self.path()?));
        }
        let at = self.peek().at;
        let function = self.name()?.to_ascii_lowercase();
        self.sign("(")?;
        if function == "count" && self.try_sign(")") {
            return Ok(Select::Count);
        }
        if function == "fields" {
            let which = match self.name()?.to_ascii_lowercase().as_str() {
                "all" => Which::All,
                "standard" => Which::Standard,
                "custom" => Which::Custom,
                _ => {
                    return Err(Error::malformed(
                        "FIELDS function must have value of ALL, CUSTOM or STANDARD",
                    ));
                }
            };
            self.sign(")")?;
            return Ok(Select::Fields { which, at });
        }
        let path = self.path()?;
        self.sign(")")?;
        let alias = match &self.peek().kind {
            Kind::Word(word) if !word.eq_ignore_ascii_case("FROM") => Some(self.name()?),
            _ => None,
        };
        let aggregate = |function| Select::Aggregate {
            function,
            path: path.clone(),
            alias: alias.clone(),
        };
        Ok(match function.as_str() {
            "count" => aggregate(Function::Count),
            "count_distinct" => aggregate(Function::CountDistinct),
            "min" => aggregate(Function::Min),
            "max" => aggregate(Function::Max),
            "sum" => aggregate(Function::Sum),
            "avg" => aggregate(Function::Avg),
            "tolabel" => Select::Shown {
                how: Shown::Label,
                path,
                alias,
            },
            "convertcurrency" | "format" => Select::Shown {
                how: Shown::Plain,
                path,
                alias,
            },
            _ => {
                let message = format!("unexpected token: '{function}'");
                return Err(Error::at("MALFORMED_QUERY", self.soql, at, &message));
            }
        })
    }

    fn order(&mut self) -> Result<Vec<Order>, Error> {
        let mut order = Vec::new();
        if !self.try_word("ORDER") {
            return Ok(order);
        }
        self.word("BY")?;
        loop {
            let path = self.path()?;
            let descending = self.try_word("DESC");
            if !descending {
                self.try_word("ASC");
            }
            let mut nulls_first = None;
            if self.try_word("NULLS") {
                nulls_first = Some(self.try_word("FIRST"));
                if nulls_first == Some(false) {
                    self.word("LAST")?;
                }
            }
            order.push(Order {
                path,
                descending,
                nulls_first,
            });
            if !self.try_sign(",") {
                return Ok(order);
            }
        }
    }

    fn count(&mut self) -> Result<u64, Error> {
        match &self.peek().kind {
            Kind::Number(n) if n.bytes().all(|b| b.is_ascii_digit()) => {
                let n = n.parse().map_err(|_| self.unexpected())?;
                self.next += 1;
                Ok(n)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Conditions of one level: all AND or all OR, because Salesforce requires parentheses around a mixture.
    fn conditions(&mut self) -> Result<Cond, Error> {
        let first = self.condition()?;
        let and = self.peek().is_word("AND");
        let word = if and { "AND" } else { "OR" };
        let mut all = vec![first];
        while self.try_word(word) {
            all.push(self.condition()?);
        }
        if self.peek().is_word("AND") || self.peek().is_word("OR") {
            return Err(self.unexpected());
        }
        Ok(match (all.len(), and) {
            (1, _) => all.remove(0),
            (_, true) => Cond::And(all),
            (_, false) => Cond::Or(all),
        })
    }

    fn condition(&mut self) -> Result<Cond, Error> {
        if self.try_word("NOT") {
            return self.deeper(|p| Ok(Cond::Not(Box::new(p.condition()?))));
        }
        if self.try_sign("(") {
            let inner = self.deeper(Self::conditions)?;
            self.sign(")")?;
            return Ok(inner);
        }
        let path = self.path()?;
        if self.try_word("INCLUDES") {
            return Ok(Cond::Includes {
                path,
                not: false,
                values: self.texts()?,
            });
        }
        if self.try_word("EXCLUDES") {
            return Ok(Cond::Includes {
                path,
                not: true,
                values: self.texts()?,
            });
        }
        if self.try_word("LIKE") {
            let at = self.peek().at;
            return Ok(Cond::Compare {
                path,
                op: Op::Like,
                value: self.literal()?,
                at,
            });
        }
        let not = self.try_word("NOT");
        if not || self.peek().is_word("IN") {
            self.word("IN")?;
            return self.membership(path, not);
        }
        let op = match self.take().kind {
            Kind::Sign("=") => Op::Eq,
            Kind::Sign("!=" | "<>") => Op::Ne,
            Kind::Sign("<") => Op::Lt,
            Kind::Sign("<=") => Op::Le,
            Kind::Sign(">") => Op::Gt,
            Kind::Sign(">=") => Op::Ge,
            _ => {
                self.next -= 1;
                return Err(self.unexpected());
            }
        };
        let at = self.peek().at;
        Ok(Cond::Compare {
            path,
            op,
            value: self.literal()?,
            at,
        })
    }

    fn membership(&mut self, path: Path, not: bool) -> Result<Cond, Error> {
        self.sign("(")?;
        if self.peek().is_word("SELECT") {
            let query = Box::new(self.deeper(Self::query)?);
            self.sign(")")?;
            return Ok(Cond::InQuery { path, not, query });
        }
        let at = self.peek().at;
        let mut values = vec![self.literal()?];
        while self.try_sign(",") {
            values.push(self.literal()?);
        }
        self.sign(")")?;
        Ok(Cond::In {
            path,
            not,
            values,
            at,
        })
    }

    fn texts(&mut self) -> Result<Vec<String>, Error> {
        self.sign("(")?;
        let mut values = Vec::new();
        loop {
            match self.peek().kind.clone() {
                Kind::Text(text) => values.push(text),
                _ => return Err(self.unexpected()),
            }
            self.next += 1;
            if !self.try_sign(",") {
                self.sign(")")?;
                return Ok(values);
            }
        }
    }

    fn literal(&mut self) -> Result<Literal, Error> {
        let literal = match &self.peek().kind {
            Kind::Text(text) => Some(Literal::Text(text.clone())),
            Kind::Number(text) => number(text),
            Kind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "null" => Some(Literal::Null),
                "true" => Some(Literal::Bool(true)),
                "false" => Some(Literal::Bool(false)),
                name => {
                    let counted = matches!(self.peek_after().kind, Kind::Sign(":"));
                    let days = match (counted, self.tokens.get(self.next + 2).map(|t| &t.kind)) {
                        (true, Some(Kind::Number(n))) => n.parse().ok().and_then(|n| days(name, Some(n))),
                        (true, _) => None,
                        (false, _) => days(name, None),
                    };
                    if days.is_some() && counted {
                        self.next += 2;
                    }
                    days
                }
            },
            _ => None,
        };
        match literal {
            Some(literal) => {
                self.next += 1;
                Ok(literal)
            }
            None => Err(self.unexpected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_sync_clients_write() {
        for soql in [
            "SELECT Id FROM Account",
            "select id, Owner.Name, toLabel(Type) t from Account a where a.Name like 'A\\_%' order by Id desc nulls last limit 5 offset 3",
            "SELECT Id, (SELECT Id, LastName FROM Contacts WHERE Email != null ORDER BY Id LIMIT 3) FROM Account WHERE Id > '001000000000001'",
            "SELECT COUNT() FROM Case WHERE NOT (Status = 'New' OR (Priority IN ('High','Low') AND IsClosed = false))",
            "SELECT Industry, COUNT(Id) n, SUM(AnnualRevenue) FROM Account GROUP BY Industry",
            "SELECT FIELDS(ALL) FROM Account WHERE SystemModstamp >= 2024-01-02T03:04:05.000+0000 LIMIT 200",
            "SELECT Id FROM Account WHERE Products__c INCLUDES ('A;B','C') AND CreatedDate = LAST_N_DAYS:30",
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE Email = 'x') AND Amount > -1.5e3",
        ] {
            assert!(parse(soql).is_ok(), "{soql}: {:?}", parse(soql));
        }
    }

    #[test]
    fn refuses_as_salesforce_does() {
        let message = |soql: &str| parse(soql).unwrap_err().message;
        assert_eq!(
            message("SELECT FROM Account"),
            "\nSELECT FROM Account\n       ^\nERROR at Row:1:Column:8\nunexpected token: 'FROM'"
        );
        assert!(
            message("SELECT Id FROM Account WHERE Name = 'a' AND Site = 'b' OR Fax = 'c'").contains("'OR'")
        );
        assert!(
            message("SELECT Id FROM Account WHERE SystemModstamp > 2024-01-02T03:04:05 00:00")
                .contains("unexpected")
        );
        assert_eq!(message(""), "A query string has to be specified");
        assert!(message(&format!("SELECT Id FROM A WHERE {}", "(".repeat(9999))).contains("nested"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(soql in ".{0,200}") {
            let _ = parse(&soql);
        }

        #[test]
        fn any_heap_of_tokens_is_survived(words in proptest::collection::vec(prop_oneof![
            Just("SELECT"), Just("FROM"), Just("WHERE"), Just("("), Just(")"), Just(","), Just("."), Just("Id"),
            Just("'x'"), Just("'"), Just("\\"), Just("AND"), Just("OR"), Just("NOT"), Just("IN"), Just("LIKE"),
            Just("="), Just("2024-01-01"), Just("2024-13-45T99:99:99Z"), Just("LAST_N_DAYS:5"), Just("LIMIT"),
            Just("99999999999999999999"), Just("GROUP BY"), Just("ORDER BY"), Just("COUNT("), Just("é"), Just(":"),
        ], 0..40)) {
            let _ = parse(&words.join(" "));
        }

        #[test]
        fn quoted_text_comes_back(text in "[^\\\\'\u{e05f}\u{e025}]{0,40}") {
            let query = parse(&format!("SELECT Id FROM Account WHERE Name = '{text}'")).unwrap();
            let Some(Cond::Compare { value, .. }) = query.filter else { panic!() };
            prop_assert_eq!(value, Literal::Text(text));
        }
    }
}
