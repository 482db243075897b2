// A client as browsers have it: prints what it is told, a JSON line each, until a job has ended.
const { io } = require("socket.io-client");

const [url, secret, organization] = process.argv.slice(2);
const say = (name, data) => console.log(JSON.stringify([name, data]));

async function main() {
  const answer = await fetch(`${url}/api/v1/socket-tickets`, {
    method: "POST",
    headers: { Authorization: `Bearer ${secret}` },
  });
  const { ticket } = await answer.json();
  const socket = io(url, { path: "/api/v1/socket.io", auth: { ticket }, reconnection: false });
  socket.on("connect_error", (error) => {
    say("refused", error.message);
    process.exit(1);
  });
  socket.on("job_status_changed", (data) => {
    say("job_status_changed", data);
    if (data.to_status === "completed") socket.disconnect();
  });
  socket.on("connect", async () => say("subscribed", await socket.emitWithAck("subscribe", { organization })));
}

main();
