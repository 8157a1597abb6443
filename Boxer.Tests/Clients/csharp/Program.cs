// Calls every endpoint with the client that Kiota generated: dotnet GeneratedClient.dll ADDRESS KEY
using System.Text;
using Generated;
using Generated.Models;
using Microsoft.Kiota.Abstractions;
using Microsoft.Kiota.Abstractions.Authentication;
using Microsoft.Kiota.Http.HttpClientLibrary;

using var http = new HttpClient();
http.DefaultRequestHeaders.Add("X-API-Key", args[1]);
var client = new BoxerClient(new HttpClientRequestAdapter(new AnonymousAuthenticationProvider(), httpClient: http) { BaseUrl = args[0] });

Require((await client.Healthz.GetAsync())?.Ok == true, "healthz");
Require((await client.Health.Ready.GetAsync())?.Ready == true, "ready");

var form = new MultipartBody();
form.AddOrReplacePart("file", "application/octet-stream", new MemoryStream(Encoding.UTF8.GetBytes("print(6 * 7)")), "main.py");
form.AddOrReplacePart("path", "text/plain", "job/main.py");
Require((await client.Files.PostAsync(form))?.Path == "job/main.py", "upload");
using (var reader = new StreamReader((await client.Files.GetAsync(request => request.QueryParameters.Path = "job/main.py"))!))
{
    Require(await reader.ReadToEndAsync() == "print(6 * 7)", "download");
}

RunResult run = (await client.Run.PostAsync(new RunRequest
{
    Image = "python:3.12-slim",
    Cmd = ["python3", "/job/main.py"],
    Files = ["job/main.py"],
    Persist = true,
    Limits = new Limits { MemoryMb = 128, WallClockSecs = 20 },
    Outputs = RunRequest_outputs.None,
}))!;
Require(run is { ExitCode: 0, Stdout: "42\n", Termination: RunResult_termination.Exited, Usage: not null }, "run");

using (var reader = new StreamReader((await client.Run.Stream.PostAsync(new RunRequest { Image = "python:3.12-slim", Cmd = ["python3", "-c", "print(1)"] }))!))
{
    string events = await reader.ReadToEndAsync();
    Require(events.StartsWith("event: started\n", StringComparison.Ordinal) && events.Contains("event: end\n", StringComparison.Ordinal), "stream");
}

Require((await client.Files.DeleteAsync(request => request.QueryParameters.Path = "job/main.py"))?.Path == "job/main.py", "delete");
try
{
    await client.Run.PostAsync(new RunRequest { Image = "python:3.12-slim", Cmd = [] });
    Require(false, "a command is needed");
}
catch (RunError error)
{
    Require(error.ResponseStatusCode == 400 && error.Error == "cmd: is empty; list the program and its arguments.", "bad request");
}

Session opened = (await client.Sessions.PostAsync(new SessionRequest { Image = "python:3.12-slim", Workspace = new Workspace(), IdleTimeoutSecs = 60 }))!;
Require(opened is { Ended: null, IdleTimeoutSecs: 60, LifetimeSecs: 3600, State: not null }, "session");
var session = client.Sessions[opened.Id!];
Require((await client.Sessions.GetAsync())!.Single().Id == opened.Id, "sessions");
RunResult exec = (await session.Exec.PostAsync(new ExecRequest { Cmd = ["sh", "-c", "cat; echo made >file"], Stdin = "in" }))!;
Require(exec is { Stdout: "in", LeftBehind: 0, Termination: RunResult_termination.Exited }, "exec");
using (var reader = new StreamReader((await session.Exec.Stream.PostAsync(new ExecRequest { Cmd = ["echo", "streamed"] }))!))
{
    string events = await reader.ReadToEndAsync();
    Require(events.Contains("event: stdout\ndata: {\"text\":\"streamed\\n\"", StringComparison.Ordinal) && events.Contains("event: end\n", StringComparison.Ordinal), "exec stream");
}

Process started = (await session.Processes.PostAsync(new ProcessRequest { Cmd = ["sh", "-c", "read line; echo $line; exit 3"] }))!;
Require(started is { Pid: not null, Ended: null, Terminal: false }, "process");
var process = session.Processes[started.Pid!.Value];
Require((await process.Stdin.PostAsync(new MemoryStream(Encoding.UTF8.GetBytes("typed\n")), request => request.QueryParameters.End = true))?.Pid == started.Pid, "input");
using (var reader = new StreamReader((await process.Events.GetAsync(request => request.QueryParameters.Offset = 0))!))
{
    string events = await reader.ReadToEndAsync();
    Require(events.Contains("event: stdout\ndata: {\"offset\":0,\"text\":\"typed\\n\"}", StringComparison.Ordinal) && events.Contains("\"exit_code\":3", StringComparison.Ordinal), "events");
}

Require((await process.GetAsync())?.Ended?.ExitCode == 3, "end");
Require((await session.Files.PutAsync(
    new MemoryStream(Encoding.UTF8.GetBytes("text")),
    request =>
    {
        request.QueryParameters.Path = "a b";
        request.QueryParameters.Mode = "0600";
    }))?.Path == "a b", "put");
using (var reader = new StreamReader((await session.Files.GetAsync(request => request.QueryParameters.Path = "a b"))!))
{
    Require(await reader.ReadToEndAsync() == "text", "get");
}

List<Entry> list = (await session.Files.List.GetAsync())!;
Require(list.Select(entry => $"{entry.Path} {entry.Type} {entry.Mode}").Order(StringComparer.Ordinal).SequenceEqual(["a b File 0600", "file File 0644"]), "list");
Require((await session.Files.Mkdir.PostAsync(new DirectoryRequest { Path = "d/e" }))?.Path == "d/e", "mkdir");
Require((await session.Files.Move.PostAsync(new MoveRequest { From = "a b", To = "d/e/f" }))?.Path == "d/e/f", "move");
Entry stat = (await session.Files.Stat.GetAsync(request => request.QueryParameters.Path = "d/e/f"))!;
Require(stat is { Path: "d/e/f", Type: Entry_type.File, Size: 4, Mode: "0600", ModifiedAt: not null }, "stat");
var archive = new MemoryStream();
await (await session.Files.Tar.GetAsync(request => request.QueryParameters.Path = "d"))!.CopyToAsync(archive);
archive.Position = 0;
Require((await session.Files.Tar.PutAsync(archive, request => request.QueryParameters.Path = "copy"))?.Path == "copy", "tar");
using (var reader = new StreamReader((await session.Files.GetAsync(request => request.QueryParameters.Path = "copy/e/f"))!))
{
    Require(await reader.ReadToEndAsync() == "text", "get from the archive");
}

Require((await session.Files.DeleteAsync(request => request.QueryParameters.Path = "copy"))?.Path == "copy", "remove");
try
{
    await session.Files.Stat.GetAsync(request => request.QueryParameters.Path = "copy");
    Require(false, "the directory was removed");
}
catch (SessionError error)
{
    Require(error.ResponseStatusCode == 404 && error.Reason == SessionError_reason.Not_found, "not found");
}

Require((await session.Pause.PostAsync())?.State == Session_state.Paused, "pause");
Require((await session.Resume.PostAsync())?.State != Session_state.Paused, "resume");
Require((await session.PatchAsync(new SessionTimes { LifetimeSecs = 7200 }))?.LifetimeSecs == 7200, "extend");
Require((await session.DeleteAsync())?.Ended == Session_ended.Closed, "close");
try
{
    await session.GetAsync();
    Require(false, "the session was closed");
}
catch (SessionError error)
{
    Require(error.ResponseStatusCode == 410 && error.Ended == SessionError_ended.Closed, "gone");
}

Console.WriteLine("all endpoints");

static void Require(bool condition, string what)
{
    if (!condition)
    {
        throw new InvalidOperationException($"{what} did not come as the description says.");
    }
}
