//! Clusters.

use forebay_http::{Problem, Request, Response, reply};
use forebay_wire::{
    ClusterName,
    api::{Cluster, Page},
};

use crate::view::{View, told};

/// All clusters, by name.
#[utoipa::path(
    get, path = "/api/v1/clusters", tag = "clusters", operation_id = "list_clusters",
    responses((status = 200, body = Page<Cluster>), (status = "default", body = Problem)),
)]
pub(super) async fn list(view: View, request: Request) -> Result<Response, Problem> {
    view.caller(&request).await?;
    request.query::<()>()?;
    let items = view.store().clusters().await.map_err(told)?;
    Ok(reply::ok(&Page { items, next: None }))
}

/// One cluster.
#[utoipa::path(
    get, path = "/api/v1/clusters/{name}", tag = "clusters", operation_id = "get_cluster",
    params(("name" = ClusterName, Path, description = "The cluster's name.")),
    responses((status = 200, body = Cluster), (status = "default", body = Problem)),
)]
pub(super) async fn get(view: View, request: Request) -> Result<Response, Problem> {
    view.caller(&request).await?;
    let name: ClusterName = request.param("name", "cluster")?;
    Ok(reply::ok(&view.store().cluster(&name).await.map_err(told)?))
}
