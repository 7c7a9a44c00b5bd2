//! A transfer service on the wire. Its secrets are shown as FirecREST shows them: as asterisks.

use serde::Serialize;
use utoipa::ToSchema;

use crate::transfer;

/// A secret that is set.
const HIDDEN: &str = "**********";

/// The transfer service of a system.
// Each method names itself: a tag that serde adds would be described as `allOf`, of which some client generators make nothing.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(discriminator(property_name = "serviceType", mapping(
    ("s3" = "#/components/schemas/S3DataTransfer"),
    ("wormhole" = "#/components/schemas/WormholeDataTransfer"),
    ("streamer" = "#/components/schemas/StreamerDataTransfer"),
)))]
pub(crate) enum DataTransfer {
    /// An object store.
    S3(S3DataTransfer),
    /// Magic Wormhole.
    Wormhole(WormholeDataTransfer),
    /// firecrest-streamer.
    Streamer(StreamerDataTransfer),
}

/// The method `s3`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum S3Method {
    S3,
}

/// The method `wormhole`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WormholeMethod {
    Wormhole,
}

/// The method `streamer`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StreamerMethod {
    Streamer,
}

/// An object store.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct S3DataTransfer {
    #[schema(inline)]
    service_type: S3Method,
    name: String,
    /// Not shown.
    #[schema(example = "**********")]
    private_url: &'static str,
    /// Where clients reach it.
    public_url: String,
    /// Not shown.
    #[schema(example = "**********")]
    access_key_id: &'static str,
    /// Not shown.
    #[schema(example = "**********")]
    secret_access_key: &'static str,
    region: String,
    /// How long signed URLs are valid, in seconds.
    ttl: u64,
    tenant: Option<String>,
    #[schema(required = false)]
    multipart: MultipartUpload,
    #[schema(required = false)]
    bucket_lifecycle_configuration: BucketLifecycleConfiguration,
}

/// How large files are split.
#[derive(Serialize, ToSchema)]
struct MultipartUpload {
    #[schema(required = false)]
    use_split: bool,
    /// In bytes.
    #[schema(required = false)]
    max_part_size: u64,
    #[schema(required = false)]
    parallel_runs: u32,
    #[schema(required = false)]
    tmp_folder: String,
}

/// When objects are removed.
#[derive(Serialize, ToSchema)]
struct BucketLifecycleConfiguration {
    #[schema(required = false)]
    days: u32,
}

/// Magic Wormhole.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WormholeDataTransfer {
    #[schema(inline)]
    service_type: WormholeMethod,
    pypi_index_url: Option<String>,
}

/// The protocol of firecrest-streamer, whose server is this service.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamerDataTransfer {
    #[schema(inline)]
    service_type: StreamerMethod,
    pypi_index_url: Option<String>,
    host: Option<String>,
    /// The first and the last port of the range of which one is listened on.
    #[schema(required = false)]
    port_range: [u16; 2],
    public_ips: Option<Vec<String>>,
    /// In seconds.
    #[schema(required = false)]
    wait_timeout: u64,
    /// In bytes.
    #[schema(required = false)]
    inbound_transfer_limit: u64,
}

impl From<&transfer::DataTransfer> for DataTransfer {
    fn from(config: &transfer::DataTransfer) -> Self {
        match config {
            transfer::DataTransfer::S3(config) => Self::S3(S3DataTransfer {
                service_type: S3Method::S3,
                name: config.name.clone(),
                private_url: HIDDEN,
                public_url: config.public_url.clone(),
                access_key_id: HIDDEN,
                secret_access_key: HIDDEN,
                region: config.region.clone(),
                ttl: config.ttl,
                tenant: config.tenant.clone(),
                multipart: MultipartUpload {
                    use_split: config.multipart.use_split,
                    max_part_size: config.multipart.max_part_size,
                    parallel_runs: config.multipart.parallel_runs,
                    tmp_folder: config.multipart.tmp_folder.clone(),
                },
                bucket_lifecycle_configuration: BucketLifecycleConfiguration { days: config.bucket_lifecycle_configuration.days },
            }),
            transfer::DataTransfer::Wormhole(config) => Self::Wormhole(WormholeDataTransfer {
                service_type: WormholeMethod::Wormhole,
                pypi_index_url: config.pypi_index_url.clone(),
            }),
            transfer::DataTransfer::Streamer(config) => Self::Streamer(StreamerDataTransfer {
                service_type: StreamerMethod::Streamer,
                pypi_index_url: config.pypi_index_url.clone(),
                host: config.host.clone(),
                port_range: config.port_range,
                public_ips: config.public_ips.clone(),
                wait_timeout: config.wait_timeout,
                inbound_transfer_limit: config.inbound_transfer_limit,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(config: serde_json::Value) -> serde_json::Value {
        serde_json::to_value(DataTransfer::from(&serde_json::from_value::<transfer::DataTransfer>(config).unwrap())).unwrap()
    }

    #[test]
    fn the_secrets_of_an_object_store_are_shown_as_asterisks() {
        let config = serde_json::json!({
            "service_type": "s3", "name": "store", "public_url": "https://s3.example.org", "private_url": "http://10.0.0.1",
            "access_key_id": "AKIA", "secret_access_key": "hunter2", "region": "eu", "ttl": 60, "multipart": {"use_split": true},
        });
        let expected = serde_json::json!({
            "serviceType": "s3", "name": "store", "publicUrl": "https://s3.example.org", "privateUrl": "**********",
            "accessKeyId": "**********", "secretAccessKey": "**********", "region": "eu", "ttl": 60, "tenant": null,
            "multipart": {"use_split": true, "max_part_size": 2_147_483_648_u64, "parallel_runs": 3, "tmp_folder": "tmp"},
            "bucketLifecycleConfiguration": {"days": 10},
        });
        assert_eq!(shown(config), expected);
    }

    #[test]
    fn a_streamer_and_a_wormhole_are_shown_with_their_defaults() {
        let streamer = serde_json::json!({
            "serviceType": "streamer", "pypiIndexUrl": null, "host": null, "portRange": [5665, 5675], "publicIps": null,
            "waitTimeout": 86400, "inboundTransferLimit": 5_368_709_120_u64,
        });
        assert_eq!(shown(serde_json::json!({"service_type": "streamer"})), streamer);
        let wormhole = serde_json::json!({"serviceType": "wormhole", "pypiIndexUrl": "https://pypi.example.org"});
        assert_eq!(shown(serde_json::json!({"service_type": "wormhole", "pypi_index_url": "https://pypi.example.org"})), wormhole);
    }
}
