//! What an expression is compiled to.

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Boolean(bool),
    /// Integers that fit are of this kind, others of the next: against a property's text it makes a difference.
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

/// Order of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Where a pattern must stand in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

/// One operation with its operands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Property(Box<str>),
    Constant(Constant),
    /// Minus.
    Negate(Box<Node>),
    Not(Box<Node>),
    /// A property where a boolean is wanted.
    Cast(Box<Node>),
    /// AND over all operands.
    All(Vec<Node>),
    /// OR over all operands.
    Any(Vec<Node>),
    /// `=`, and `IS NULL` with the constant on the right.
    Equal(Box<(Node, Node)>),
    Compare(Relation, Box<(Node, Node)>),
    Find {
        value: Box<Node>,
        place: Place,
        pattern: Box<str>,
        negated: bool,
    },
    /// IN; `set` is sorted.
    In {
        property: Box<str>,
        set: Vec<Box<str>>,
        negated: bool,
    },
}

impl Node {
    /// Whether its value is a boolean or NULL whatever the message, as far as Java can tell.
    pub fn is_boolean(&self) -> bool {
        match self {
            Node::Constant(constant) => matches!(constant, Constant::Null | Constant::Boolean(_)),
            Node::Property(_) | Node::Negate(_) => false,
            _ => true,
        }
    }
}
