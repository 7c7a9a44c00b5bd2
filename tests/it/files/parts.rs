//! Files that grow into the content of others.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use futures::{StreamExt, stream};
use goldcrest::filesystem::{Expected, FilesystemError, PartOptions, PlaceOptions, Placed};

use super::{Site, noise, on_each_site, pieces};
use crate::support::wait_for;

on_each_site!(
    a_file_grows_in_parts_and_takes_its_place,
    what_arrived_before_a_failure_stays_and_what_was_to_be_checked_does_not,
    a_part_is_added_to_only_where_it_ends,
);

async fn extend(site: &Site, content: &[u8], offset: usize, length: usize) -> Result<u64, FilesystemError> {
    let options = PartOptions { offset: offset as u64, length: length as u64, all_or_nothing: false };
    site.files.extend_part(&site.user, &site.path(".part"), pieces(content), options).await
}

async fn a_file_grows_in_parts_and_takes_its_place(site: Site) {
    let content = noise(1_500_000);
    let (part, target) = (site.path(".part"), site.write("f", "old"));
    fs::set_permissions(site.local("f"), fs::Permissions::from_mode(0o640)).unwrap();
    site.files.begin_part(&site.user, &part, &target, false).await.unwrap();
    assert_eq!(fs::metadata(site.local(".part")).unwrap().mode() & 0o077 & !0o040, 0, "open to more people than its target");
    let again = site.files.begin_part(&site.user, &part, &target, false).await;
    assert!(matches!(again, Err(FilesystemError::Exists(_))), "{again:?}");
    let mut at = 0;
    for end in [10, 300_000, 300_000, 1_500_000] {
        assert_eq!(extend(&site, &content[at..end], at, content.len()).await.unwrap(), end as u64);
        assert_eq!(fs::read(site.local("f")).unwrap(), b"old");
        at = end;
    }
    let refused = site.files.place_part(&site.user, &part, &target, PlaceOptions::new(content.len() as u64, Expected::Nothing)).await;
    assert!(matches!(refused, Err(FilesystemError::Exists(_))), "{refused:?}");
    assert_eq!(
        site.files.place_part(&site.user, &part, &target, PlaceOptions::new(content.len() as u64, Expected::Anything)).await.unwrap(),
        Placed::Replaced
    );
    assert!(fs::read(site.local("f")).unwrap() == content);
    assert_eq!(fs::metadata(site.local("f")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(site.names(), [b"f"]);
    site.files.begin_part(&site.user, &part, &site.path("new"), false).await.unwrap();
    assert_eq!(
        site.files.place_part(&site.user, &part, &site.path("new"), PlaceOptions::new(0, Expected::Nothing)).await.unwrap(),
        Placed::Created
    );
}

async fn what_arrived_before_a_failure_stays_and_what_was_to_be_checked_does_not(site: Site) {
    let content = noise(1_000_000);
    let part = site.path(".part");
    site.files.begin_part(&site.user, &part, &site.path("f"), false).await.unwrap();
    extend(&site, &content[..400_000], 0, content.len()).await.unwrap();
    for (all_or_nothing, expected) in [(true, 400_000), (false, 900_000)] {
        let failure = stream::iter([Err(FilesystemError::Interrupted(ErrorKind::ConnectionReset.into()))]);
        let broken = pieces(&content[400_000..900_000]).chain(failure).boxed();
        let options = PartOptions { offset: 400_000, length: 1_000_000, all_or_nothing };
        let outcome = site.files.extend_part(&site.user, &part, broken, options).await;
        assert!(matches!(outcome, Err(FilesystemError::Interrupted(_))), "{outcome:?}");
        wait_for(Duration::from_secs(10), || fs::metadata(site.local(".part")).unwrap().len() == expected).await;
    }
    assert!(fs::read(site.local(".part")).unwrap() == content[..900_000]);
    let long = extend(&site, &noise(200_000), 900_000, content.len()).await;
    assert!(matches!(long, Err(FilesystemError::TooLarge(1_000_000))), "{long:?}");
    assert!(fs::metadata(site.local(".part")).unwrap().len() <= 1_000_000, "it is longer than it may become");
}

async fn a_part_is_added_to_only_where_it_ends(site: Site) {
    let part = site.path(".part");
    let missing = extend(&site, b"x", 0, 10).await;
    assert!(matches!(missing, Err(FilesystemError::NotFound(_))), "{missing:?}");
    site.files.begin_part(&site.user, &part, &site.path("f"), false).await.unwrap();
    extend(&site, b"01234", 0, 10).await.unwrap();
    for offset in [0, 4, 6] {
        let elsewhere = extend(&site, b"x", offset, 10).await;
        assert!(matches!(elsewhere, Err(FilesystemError::Offset(5))), "{elsewhere:?}");
    }
    assert_eq!(fs::read(site.local(".part")).unwrap(), b"01234");
}
