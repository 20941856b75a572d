//! The one place that turns a list of keys into a struct: [`settings!`](crate::table) writes the fields, their
//! defaults, reading and writing by key, and the rows that the documentation page is made of.

use crate::form::Form;
use crate::{Remark, SettingError, Surroundings};

/// When a changed value acts, and whether a client may change it at all (codes 25 and 318).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// May be changed by a client and acts at once.
    Live,
    /// May be changed by a client; the next start reads it.
    Restart,
    /// Never changed by a client: it names a path, an address, an identity, a limit that protects this process, a
    /// size that the files on disk have, or says what clients may change. CVE-2023-33246 and CVE-2023-37582 began with
    /// such keys.
    Locked,
}

/// What is known about one key that acts.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The name in the file.
    pub key: &'static str,
    /// The heading under which the documentation lists it.
    pub section: &'static str,
    /// The name of its form, such as `milliseconds`.
    pub form: &'static str,
    /// The default in words, where it depends on the machine.
    pub default_in_words: Option<&'static str>,
    /// What it does, in one or two sentences.
    pub meaning: &'static str,
    /// When a change acts.
    pub change: Change,
    /// Whether variables are expanded in it.
    pub is_path: bool,
}

/// A set of settings that one kind of file may give.
pub trait Table: Default + Clone {
    /// The name of that file, for messages.
    const FILE: &'static str;
    /// Every key that acts, in the order of the documentation.
    const ROWS: &'static [Row];
    /// The text of a value, or `None` for a key that is not in [`Table::ROWS`].
    fn get(&self, key: &str) -> Option<String>;
    /// Reads a value; a remark says that another value than the given one is used.
    fn put(&mut self, key: &str, given: &str) -> Result<Option<Remark>, SettingError>;
    /// Fills what depends on the machine, unless it is given; called after the file and the overrides are read, so that
    /// a mistake in what nobody uses does no harm.
    fn place(
        &mut self,
        surroundings: &Surroundings,
        given: &dyn Fn(&str) -> bool,
    ) -> Result<(), SettingError>;
    /// Checks what no single key can say; called after the file and the overrides are read.
    fn settle(&mut self, given: &dyn Fn(&str) -> bool) -> Result<Vec<Remark>, SettingError>;
    /// The keys that clients must not change beside those that are locked anyway.
    fn black_list(&self) -> &[String];
}

/// The keys that act.
pub(crate) fn keys(rows: &'static [Row]) -> impl Iterator<Item = &'static str> {
    rows.iter().map(|row| row.key)
}

/// Describes a span of values for an error: `, from 1 to 65535`.
pub(crate) fn bounds<F: Form>(lowest: &F::Value, highest: &F::Value) -> String {
    format!("{}, from {} to {}", F::ACCEPTS, F::write(lowest), F::write(highest))
}

/// Generic, so that a bound which is the type's own end is no comparison that lints complain about.
pub(crate) fn outside<T: PartialOrd>(value: &T, lowest: &T, highest: &T) -> bool {
    value < lowest || value > highest
}

/// A value outside its span is moved to the nearer end, as Java does with it.
pub(crate) fn clamp<T: PartialOrd>(value: T, lowest: T, highest: T) -> T {
    if value < lowest {
        lowest
    } else if value > highest {
        highest
    } else {
        value
    }
}

/// The form of a field: the one named after `as`, else the field's own type.
macro_rules! form {
    ($type:ty) => {
        $type
    };
    ($type:ty, $form:ty) => {
        $form
    };
}
pub(crate) use form;

/// Writes a settings struct from its keys. One key reads
///
/// ```text
/// /// What it does.
/// field: Type as Form = default, "keyInTheFile", live;
/// ```
///
/// where `as Form` may be left out, and three parts may follow: `within low, high` (other values are an error),
/// `clamped low, high` (other values are moved to the nearer end), `shown "…"` (the default in words).
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $name:ident in $file:literal;
        $($section:literal {$(
            $(#[doc = $doc:literal])+
            $field:ident: $type:ty $(as $form:ty)? = $default:expr, $key:literal, $change:ident
                $(, within $low:expr, $high:expr)?
                $(, clamped $floor:expr, $ceiling:expr)?
                $(, shown $shown:literal)?;
        )+})+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(
                #[doc = concat!("`", $key, "`:", $($doc),+)]
                pub $field: $type,
            )+)+
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($($field: $default,)+)+ }
            }
        }

        impl $name {
            /// The text of a value, or `None` for a key that does not act.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($($key => Some(<form!($type $(, $form)?) as Form>::write(&self.$field)),)+)+
                    _ => None,
                }
            }

            /// Sets a value from its text.
            pub fn set(&mut self, key: &str, text: &str) -> Result<(), SettingError> {
                self.put(key, text).map(drop)
            }

            /// All acting keys with the texts of their values, sorted by key: what a client is shown.
            pub fn entries(&self) -> Vec<(&'static str, String)> {
                let mut entries =
                    vec![$($(($key, <form!($type $(, $form)?) as Form>::write(&self.$field)),)+)+];
                entries.sort_unstable_by_key(|entry| entry.0);
                entries
            }
        }

        impl Table for $name {
            const FILE: &'static str = $file;
            const ROWS: &'static [Row] = &[$($(Row {
                key: $key,
                section: $section,
                form: <form!($type $(, $form)?) as Form>::NAME,
                default_in_words: settings!(@shown $($shown)?),
                meaning: concat!($($doc),+).trim_ascii(),
                change: settings!(@change $change),
                is_path: <form!($type $(, $form)?) as Form>::IS_PATH,
            },)+)+];

            fn get(&self, key: &str) -> Option<String> {
                $name::get(self, key)
            }

            fn put(&mut self, key: &str, given: &str) -> Result<Option<Remark>, SettingError> {
                match key {
                    $($($key => {
                        type Written = form!($type $(, $form)?);
                        let refuse = |accepted: String| SettingError::Value {
                            place: Place::Unknown,
                            key: $key,
                            given: shorten(given.trim()),
                            accepted,
                            default: settings!(@default $name $key $($shown)?),
                        };
                        let value = <Written as Form>::read(given).ok_or_else(|| {
                            #[allow(unused_mut, unused_assignments, reason = "only bounds change it")]
                            let mut accepted = <Written as Form>::ACCEPTS.to_owned();
                            $(accepted = bounds::<Written>(&$low, &$high);)?
                            refuse(accepted)
                        })?;
                        $(if outside(&value, &$low, &$high) {
                            return Err(refuse(bounds::<Written>(&$low, &$high)));
                        })?
                        $(let value = clamp(value, $floor, $ceiling);)?
                        self.$field = value;
                        #[allow(unused_mut, unused_assignments, reason = "only limits change it")]
                        let mut remark = None;
                        $(
                            let used = <Written as Form>::write(&self.$field);
                            if Some(&self.$field) != <Written as Form>::read(given).as_ref() {
                                remark = Some(Remark {
                                    key: $key,
                                    text: format!(
                                        "{} is outside {} to {}; {used} is used, as in the Java broker",
                                        given.trim(),
                                        <Written as Form>::write(&$floor),
                                        <Written as Form>::write(&$ceiling),
                                    ),
                                });
                            }
                        )?
                        Ok(remark)
                    })+)+
                    _ => Err(SettingError::unknown(Place::Unknown, key, $crate::table::keys(Self::ROWS))),
                }
            }

            fn place(
                &mut self,
                surroundings: &Surroundings,
                given: &dyn Fn(&str) -> bool,
            ) -> Result<(), SettingError> {
                $name::place(self, surroundings, given)
            }

            fn settle(&mut self, given: &dyn Fn(&str) -> bool) -> Result<Vec<Remark>, SettingError> {
                $name::settle(self, given)
            }

            fn black_list(&self) -> &[String] {
                &self.config_black_list
            }
        }
    };
    (@shown) => { None };
    (@shown $shown:literal) => { Some($shown) };
    (@default $name:ident $key:literal) => { $name::default().get($key).unwrap_or_default() };
    (@default $name:ident $key:literal $shown:literal) => { $shown.to_owned() };
    (@change live) => { Change::Live };
    (@change restart) => { Change::Restart };
    (@change locked) => { Change::Locked };
}
pub(crate) use settings;
