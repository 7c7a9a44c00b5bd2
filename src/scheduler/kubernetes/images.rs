//! The images that jobs may use.

use crate::domain::matches_pattern;

/// The longest name of an image, in bytes.
const MAX_IMAGE: usize = 512;

/// A pattern for names of images, in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImagePattern(Vec<char>);

impl ImagePattern {
    /// Reads a pattern; none where no image could match it.
    pub(super) fn new(text: &str) -> Option<Self> {
        (is_image(&text.replace('*', "a"))).then(|| Self(text.chars().collect()))
    }

    fn matches(&self, image: &[char]) -> bool {
        matches_pattern(&self.0, image, |part| *part == '*', |part, character| part == character)
    }
}

/// Whether a text can be the name of an image: a registry, a path, a tag and a digest, as the OCI distribution specification writes them.
pub(super) fn is_image(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric();
    let is_other = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    text.len() <= MAX_IMAGE && text.starts_with(is_first) && text.chars().all(is_other) && !text.contains("..") && !text.contains("//")
}

/// The images that a site allows.
#[derive(Clone, Debug)]
pub(super) struct Images(Vec<ImagePattern>);

impl Images {
    /// Those that match a pattern, or are named exactly. A pattern that is none allows nothing.
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a String>, named: impl IntoIterator<Item = &'a String>) -> Self {
        let named = named.into_iter().map(|image| ImagePattern(image.chars().filter(|c| *c != '*').collect()));
        Self(patterns.into_iter().filter_map(|pattern| ImagePattern::new(pattern)).chain(named).collect())
    }

    /// Whether jobs may use an image.
    pub(super) fn allow(&self, image: &str) -> bool {
        let characters: Vec<char> = image.chars().collect();
        is_image(image) && self.0.iter().any(|pattern| pattern.matches(&characters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_that_the_site_lists_are_allowed() {
        let patterns = ["registry.example.org/science/*".to_owned(), "docker.io/library/python:3.*".to_owned()];
        let images = Images::new(&patterns, &["quay.io/site/default:1".to_owned()]);
        for image in [
            "registry.example.org/science/solver:2",
            "registry.example.org/science/a/b@sha256:00ff",
            "docker.io/library/python:3.12",
            "quay.io/site/default:1",
        ] {
            assert!(images.allow(image), "{image}");
        }
        for image in [
            "",
            "*",
            "python:3.12",
            "registry.example.org/other/solver:2",
            "registry.example.org.evil.test/science/solver:2",
            "evil.test/registry.example.org/science/solver:2",
            "registry.example.org/science/../other/solver:2",
            "registry.example.org/science/solver:2 --privileged",
            "registry.example.org/science/solver:2\n",
            "quay.io/site/default:12",
            "docker.io/library/python:2.7",
        ] {
            assert!(!images.allow(image), "{image:?}");
        }
    }

    #[test]
    fn without_a_list_no_image_is_allowed() {
        assert!(!Images::new(&[], &[]).allow("busybox"));
    }
}
