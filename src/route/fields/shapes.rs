//! A glance at a name before lists of names are searched.

/// What of a name tells most names apart from those on a list, at a glance: its first letter and its length.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// From 0 for `a`.
    first: usize,
    /// A bit for the length; one for all that are long.
    length: u32,
}

/// `None` of a name that begins with no small letter, as none on any list does.
pub(super) const fn shape(name: &[u8]) -> Option<Shape> {
    let [first @ b'a'..=b'z', ..] = name else { return None };
    let length = if name.len() < 31 { 1 << name.len() } else { 1 << 31 };
    Some(Shape { first: (*first - b'a') as usize, length })
}

/// The shapes of a list: for each first letter the lengths.
pub(super) struct Shapes([u32; 26]);

impl Shapes {
    /// Of the names of a list.
    pub(super) const fn of(mut names: &[&str]) -> Self {
        let mut shapes = [0; 26];
        while let [name, rest @ ..] = names {
            if let Some(Shape { first, length }) = shape(name.as_bytes()) {
                #[expect(clippy::indexing_slicing, reason = "a letter of 26, and found out by the compiler")]
                {
                    shapes[first] |= length;
                }
            }
            names = rest;
        }
        Self(shapes)
    }

    /// Whether a name on the list has this shape.
    pub(super) fn has(&self, shape: Shape) -> bool {
        self.0.get(shape.first).is_some_and(|lengths| lengths & shape.length != 0)
    }

    /// Whether a name on the list has this first letter.
    pub(super) fn begins_with(&self, shape: Shape) -> bool {
        self.0.get(shape.first).is_some_and(|lengths| *lengths != 0)
    }
}
