//! Serves one route on a free port of loopback, calls it, and drains.

use forebay_http::{
    Client, Limits, Listener, Problem, Request, reply,
    routes::{Access, Route, Table},
};
use forebay_service::Tasks;
use std::{error::Error, time::Duration};

async fn greet(greeting: &'static str, request: Request) -> Result<impl warp::Reply, Problem> {
    let name: String = request.param("name", "name")?;
    Ok(reply::ok(&format!("{greeting}, {name}")))
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tasks = Tasks::new();
    let mut table = Table::new();
    table.add(Route::with(
        &"Hello",
        http::Method::GET,
        "/greet/{name}",
        Access::Public,
        greet,
    ));
    let listener = Listener::tcp("127.0.0.1:0".parse()?).await?;
    let client = Client::tcp(&format!("http://{}", listener.address()))?;
    tasks.spawn_essential(
        "http",
        forebay_http::serve(listener, table, Limits::default(), tasks.clone()),
    );
    let answer: String = client.get("/greet/Anna").await?;
    println!("{answer}");
    let error = client.get::<String>("/nowhere").await.err();
    println!("{error:?}");
    tasks.drain(Duration::from_secs(5)).await?;
    Ok(())
}
