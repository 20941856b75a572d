//! From text to nodes: the grammar of broker.md §11.3 with the checks that Java makes on the way.

use std::cmp::Ordering;

use super::lexer::{Lexer, Token};
use super::node::{Constant, Node, Place, Relation};
use super::{DEPTH_MAX, EXPRESSION_BYTES_MAX, SqlError, numbers};

/// Compiles an expression.
pub(super) fn parse(text: &str) -> Result<Node, SqlError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let reason =
            format!("an expression has {EXPRESSION_BYTES_MAX} bytes at most, this one {}", text.len());
        return Err(SqlError::new(text, 0, reason));
    }
    let mut parser = Parser { text, lexer: Lexer::new(text), ahead: None, nesting: 0 };
    let whole = parser.disjunction()?;
    parser.boolean(whole).map(|part| part.node)
}

/// A node, where its text begins, and how many nodes are above its deepest leaf.
struct Part {
    node: Node,
    at: usize,
    depth: usize,
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    ahead: Option<(Token<'a>, usize)>,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Result<Token<'a>, SqlError> {
        let ahead = match self.ahead {
            Some(ahead) => ahead,
            None => self.lexer.next()?,
        };
        self.ahead = Some(ahead);
        Ok(ahead.0)
    }

    fn next(&mut self) -> Result<(Token<'a>, usize), SqlError> {
        match self.ahead.take() {
            Some(ahead) => Ok(ahead),
            None => self.lexer.next(),
        }
    }

    fn skip_if(&mut self, wanted: Token<'_>) -> Result<bool, SqlError> {
        let found = self.peek()? == wanted;
        if found {
            self.ahead = None;
        }
        Ok(found)
    }

    fn expect(&mut self, wanted: Token<'_>) -> Result<(), SqlError> {
        match self.next()? {
            (token, _) if token == wanted => Ok(()),
            (token, at) => Err(self.error(at, format!("{wanted} expected, not {token}"))),
        }
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> SqlError {
        SqlError::new(self.text, at, reason)
    }

    fn part(&self, node: Node, at: usize, below: usize) -> Result<Part, SqlError> {
        let depth = below + 1;
        if depth > DEPTH_MAX {
            return Err(self.error(at, format!("more than {DEPTH_MAX} operations within one another")));
        }
        Ok(Part { node, at, depth })
    }

    fn disjunction(&mut self) -> Result<Part, SqlError> {
        let first = self.conjunction()?;
        if self.peek()? != Token::Or {
            return Ok(first);
        }
        let at = first.at;
        let mut operands = vec![self.boolean(first)?];
        while self.skip_if(Token::Or)? {
            let operand = self.conjunction()?;
            operands.push(self.boolean(operand)?);
        }
        self.joined(operands, at, Node::Any)
    }

    fn conjunction(&mut self) -> Result<Part, SqlError> {
        let first = self.equality()?;
        if self.peek()? != Token::And {
            return Ok(first);
        }
        let at = first.at;
        let mut operands = vec![self.boolean(first)?];
        while self.skip_if(Token::And)? {
            let operand = self.equality()?;
            operands.push(self.boolean(operand)?);
        }
        self.joined(operands, at, Node::All)
    }

    fn joined(&self, operands: Vec<Part>, at: usize, node: fn(Vec<Node>) -> Node) -> Result<Part, SqlError> {
        let depth = operands.iter().map(|operand| operand.depth).max().unwrap_or_default();
        self.part(node(operands.into_iter().map(|operand| operand.node).collect()), at, depth)
    }

    fn equality(&mut self) -> Result<Part, SqlError> {
        let mut left = self.comparison()?;
        loop {
            if self.skip_if(Token::Equal)? {
                let right = self.comparison()?;
                left = self.equal(left, right)?;
            } else if self.skip_if(Token::Unequal)? {
                let right = self.comparison()?;
                let equal = self.equal(left, right)?;
                left = self.not(equal)?;
            } else if self.skip_if(Token::Is)? {
                let negated = self.skip_if(Token::Not)?;
                self.expect(Token::Null)?;
                let operands = Box::new((left.node, Node::Constant(Constant::Null)));
                let is_null = self.part(Node::Equal(operands), left.at, left.depth)?;
                left = if negated { self.not(is_null)? } else { is_null };
            } else {
                return Ok(left);
            }
        }
    }

    fn equal(&self, left: Part, right: Part) -> Result<Part, SqlError> {
        for operand in [&left, &right] {
            if operand.node == Node::Constant(Constant::Null) {
                return Err(self.error(operand.at, "NULL cannot be compared; write IS NULL or IS NOT NULL"));
            }
        }
        if let (Node::Constant(Constant::Boolean(_)), Node::Constant(constant)) = (&left.node, &right.node)
            && !matches!(constant, Constant::Boolean(_))
        {
            return Err(self.error(right.at, "TRUE and FALSE can be compared with no such value"));
        }
        let depth = left.depth.max(right.depth);
        self.part(Node::Equal(Box::new((left.node, right.node))), left.at, depth)
    }

    fn not(&self, part: Part) -> Result<Part, SqlError> {
        self.part(Node::Not(Box::new(part.node)), part.at, part.depth)
    }

    fn comparison(&mut self) -> Result<Part, SqlError> {
        let mut left = self.unary()?;
        loop {
            let relation = match self.peek()? {
                Token::Less => Some(Relation::Less),
                Token::LessEqual => Some(Relation::LessEqual),
                Token::Greater => Some(Relation::Greater),
                Token::GreaterEqual => Some(Relation::GreaterEqual),
                Token::Not
                | Token::Contains
                | Token::StartsWith
                | Token::EndsWith
                | Token::Between
                | Token::In => None,
                _ => return Ok(left),
            };
            left = match relation {
                Some(relation) => {
                    self.next()?;
                    let right = self.unary()?;
                    self.compare(relation, left, right)?
                }
                None => self.test(left)?,
            };
        }
    }

    fn compare(&self, relation: Relation, left: Part, right: Part) -> Result<Part, SqlError> {
        self.check_ordered(&left)?;
        self.check_ordered(&right)?;
        let depth = left.depth.max(right.depth);
        self.part(Node::Compare(relation, Box::new((left.node, right.node))), left.at, depth)
    }

    /// Of literals only numbers have an order; results of comparisons have none either.
    fn check_ordered(&self, part: &Part) -> Result<(), SqlError> {
        let constant_text = matches!(part.node, Node::Constant(Constant::Text(_)));
        if constant_text || part.node.is_boolean() {
            return Err(self.error(part.at, "only numbers and properties can be compared by order"));
        }
        Ok(())
    }

    /// What follows a value and begins with a word, maybe with NOT in front.
    fn test(&mut self, left: Part) -> Result<Part, SqlError> {
        let negated = self.skip_if(Token::Not)?;
        match self.next()? {
            (Token::Contains, _) => self.find(left, Place::Anywhere, negated),
            (Token::StartsWith, _) => self.find(left, Place::Start, negated),
            (Token::EndsWith, _) => self.find(left, Place::End, negated),
            (Token::Between, _) => self.between(left, negated),
            (Token::In, _) => self.is_in(left, negated),
            (token, at) => {
                let reason =
                    format!("CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN expected after NOT, not {token}");
                Err(self.error(at, reason))
            }
        }
    }

    fn find(&mut self, left: Part, place: Place, negated: bool) -> Result<Part, SqlError> {
        let pattern = self.literal_text()?;
        self.part(Node::Find { value: Box::new(left.node), place, pattern, negated }, left.at, left.depth)
    }

    fn between(&mut self, value: Part, negated: bool) -> Result<Part, SqlError> {
        let low = self.unary()?;
        self.expect(Token::And)?;
        let high = self.unary()?;
        if !negated && let (Node::Constant(from), Node::Constant(to)) = (&low.node, &high.node) {
            if *from == Constant::Null || *to == Constant::Null {
                return Err(self.error(low.at, "NULL is no bound"));
            }
            if numbers::compare_constants(to, from) == Some(Ordering::Less) {
                return Err(self.error(low.at, "the lower bound is above the upper one"));
            }
        }
        let (at, first) = (value.at, Part { node: value.node.clone(), ..value });
        let (lower, upper, join): (_, _, fn(Vec<Node>) -> Node) = if negated {
            (Relation::Less, Relation::Greater, Node::Any)
        } else {
            (Relation::GreaterEqual, Relation::LessEqual, Node::All)
        };
        let tests = vec![self.compare(lower, first, low)?, self.compare(upper, value, high)?];
        self.joined(tests, at, join)
    }

    fn is_in(&mut self, left: Part, negated: bool) -> Result<Part, SqlError> {
        self.expect(Token::Open)?;
        let mut set = vec![self.literal_text()?];
        while self.skip_if(Token::Comma)? {
            set.push(self.literal_text()?);
        }
        self.expect(Token::Close)?;
        let Node::Property(property) = left.node else {
            return Err(self.error(left.at, "IN is asked of properties only"));
        };
        set.sort_unstable();
        self.part(Node::In { property, set, negated }, left.at, 0)
    }

    fn unary(&mut self) -> Result<Part, SqlError> {
        let (operator, at) = match self.peek()? {
            Token::Plus | Token::Minus | Token::Not => self.next()?,
            _ => return self.primary(),
        };
        self.enter(at)?;
        let operand = self.unary()?;
        self.nesting -= 1;
        match operator {
            Token::Minus => self.part(Node::Negate(Box::new(operand.node)), at, operand.depth),
            Token::Not => {
                let operand = self.boolean(operand)?;
                self.not(Part { at, ..operand })
            }
            _ => Ok(operand),
        }
    }

    fn enter(&mut self, at: usize) -> Result<(), SqlError> {
        self.nesting += 1;
        if self.nesting > DEPTH_MAX {
            return Err(
                self.error(at, format!("more than {DEPTH_MAX} brackets and signs within one another"))
            );
        }
        Ok(())
    }

    fn primary(&mut self) -> Result<Part, SqlError> {
        let (token, at) = self.next()?;
        let constant = match token {
            Token::Text(quoted) => Constant::Text(unquoted(quoted)),
            Token::Integer(digits) => self.integer(digits, at)?,
            Token::Float(digits) => self.float(digits, at)?,
            Token::True => Constant::Boolean(true),
            Token::False => Constant::Boolean(false),
            Token::Null => Constant::Null,
            Token::Identifier(name) => return self.part(Node::Property(name.into()), at, 0),
            Token::Open => {
                self.enter(at)?;
                let inner = self.disjunction()?;
                self.expect(Token::Close)?;
                self.nesting -= 1;
                return Ok(Part { at, ..inner });
            }
            token => {
                let reason = format!("a property, a value or \"(\" expected, not {token}");
                return Err(self.error(at, reason));
            }
        };
        self.part(Node::Constant(constant), at, 0)
    }

    fn integer(&self, digits: &str, at: usize) -> Result<Constant, SqlError> {
        let value: i64 =
            digits.parse().map_err(|_| self.error(at, format!("an integer is {} at most", i64::MAX)))?;
        Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Int))
    }

    /// Java refuses zero here because it takes the smallest positive number for the smallest one.
    fn float(&self, digits: &str, at: usize) -> Result<Constant, SqlError> {
        match digits.parse::<f64>() {
            Ok(value) if value > 0.0 && value.is_finite() => Ok(Constant::Double(value)),
            _ => {
                let reason = "a number with a point or an exponent is above 0 and at most 1.7976931348623157E308; write 0 as an integer";
                Err(self.error(at, reason))
            }
        }
    }

    fn literal_text(&mut self) -> Result<Box<str>, SqlError> {
        match self.next()? {
            (Token::Text(quoted), _) => Ok(unquoted(quoted)),
            (token, at) => Err(self.error(at, format!("a text in single quotes expected, not {token}"))),
        }
    }

    /// The part as a boolean: a property is asked whether it is one.
    fn boolean(&self, part: Part) -> Result<Part, SqlError> {
        if part.node.is_boolean() {
            return Ok(part);
        }
        if matches!(part.node, Node::Property(_)) {
            return self.part(Node::Cast(Box::new(part.node)), part.at, part.depth);
        }
        Err(self.error(part.at, "a comparison or a property expected where this value stands"))
    }
}

fn unquoted(quoted: &str) -> Box<str> {
    if quoted.contains('\'') { quoted.replace("''", "'").into() } else { quoted.into() }
}
