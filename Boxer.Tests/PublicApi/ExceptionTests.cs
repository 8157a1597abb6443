namespace Boxer.PublicApi.Tests;

/// <summary>Exceptions that image stores, network modes and other runners throw.</summary>
public sealed class ExceptionTests
{
    private static readonly IOException Cause = new("disk");

    public static TheoryData<SandboxException, bool> Exceptions => new()
    {
        { new ImageNotFoundException("no image", Cause), true },
        { new ImagePullException("no layer", Cause), true },
        { new SandboxCapacityException("no room", Cause), true },
        { new SandboxCapacityException("no room", TimeSpan.FromSeconds(7), Cause), true },
        { new SandboxPrivilegeException("no root", Cause), true },
        { new SandboxRuntimeException("no runsc", Cause), false },
        { new InvalidSandboxRequestException([new SandboxFault("Image", "is wrong.")], Cause), true },
        { new SandboxSessionEndedException("s1", SandboxSessionEnd.Lifetime, Cause), false },
        { new SandboxFileException("a", SandboxFileError.NotFound, innerException: Cause), false },
        { new SandboxConnectionException(80, innerException: Cause), true },
        { new OwnException("own", Cause), false },
    };

    [Theory]
    [MemberData(nameof(Exceptions))]
    public void Each_has_a_message_a_public_one_a_cause_and_whether_a_retry_is_safe(SandboxException exception, bool isRetrySafe)
    {
        Assert.NotEmpty(exception.Message);
        Assert.NotEmpty(exception.PublicMessage);
        Assert.Same(Cause, exception.InnerException);
        Assert.Equal((isRetrySafe, null, null), (exception.IsRetrySafe, exception.Image, exception.RunId));
    }

    [Fact]
    public void Every_exception_of_the_package_can_be_created()
    {
        Type[] kinds = [.. typeof(SandboxException).Assembly.GetExportedTypes().Where(type => type.IsSubclassOf(typeof(SandboxException)) && !type.IsAbstract && type.Namespace == "Boxer")];

        // Their messages are made of what they are about.
        Type[] typed = [typeof(InvalidSandboxRequestException), typeof(SandboxSessionEndedException), typeof(SandboxSessionPausedException), typeof(SandboxFileException), typeof(SandboxConnectionException)];

        Assert.Equal(10, kinds.Length);
        Assert.All(kinds.Except(typed), kind =>
        {
            Assert.NotNull(kind.GetConstructor([typeof(string)]));
            Assert.NotNull(kind.GetConstructor([typeof(string), typeof(Exception)]));
        });
    }

    [Fact]
    public void A_capacity_exception_has_the_time_to_retry()
    {
        Assert.Equal(TimeSpan.FromSeconds(7), new SandboxCapacityException("no room", TimeSpan.FromSeconds(7)).RetryAfter);
        Assert.Equal(TimeSpan.FromSeconds(1), new SandboxCapacityException("no room").RetryAfter);
        Assert.Equal("no room", new SandboxCapacityException("no room").PublicMessage);
        Assert.Equal("later", new SandboxCapacityException("no room in /home") { PublicMessage = "later" }.PublicMessage);
        Assert.Throws<ArgumentOutOfRangeException>(() => new SandboxCapacityException("no room", TimeSpan.FromSeconds(-1)));
    }

    [Fact]
    public void A_fault_names_other_properties_as_the_caller_does()
    {
        SandboxFault fault = new("StopGrace", "and {0} are too long.", ["Limits.WallClock"]);

        Assert.Equal(new SandboxFault("StopGrace", "and Limits.WallClock are too long."), fault);
        Assert.Equal(["Limits.WallClock"], fault.RelatedFields);
        Assert.Equal("and limits.wall_clock_secs are too long.", fault.FormatMessage(_ => "limits.wall_clock_secs"));
        Assert.Equal("is {0}.", (fault with { Message = "is {0}." }).FormatMessage(_ => "x"));
        Assert.Equal("is {0}.", new SandboxFault("User", "is {0}.").FormatMessage(_ => "x"));
    }

    [Fact]
    public void An_invalid_request_lists_its_faults()
    {
        InvalidSandboxRequestException exception = new(new SandboxFault("Image", "is wrong."), new SandboxFault("User", "is unknown."));

        Assert.Equal("Image: is wrong. User: is unknown.", exception.Message);
        Assert.Equal(["Image", "User"], exception.Faults.Select(fault => fault.Field));
        Assert.Equal(new SandboxFault("Image", "is wrong."), Assert.Single(new InvalidSandboxRequestException("Image", "is wrong.").Faults));
        Assert.Throws<ArgumentException>(() => new InvalidSandboxRequestException([]));
    }

    [Fact]
    public void ToString_has_the_run_the_image_and_whether_a_retry_is_safe()
    {
        ImagePullException exception = new("no layer") { Image = "python:3", RunId = "boxer-1" };

        Assert.EndsWith("Run boxer-1 of image python:3; the command was not started, so that a retry is safe.", exception.ToString(), StringComparison.Ordinal);
        exception.IsRetrySafe = false;
        Assert.EndsWith("the command may have run.", exception.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("Run", new ImagePullException("no layer").ToString(), StringComparison.Ordinal);
    }

    private sealed class OwnException(string message, Exception cause) : SandboxException(message, "Own.", cause);
}
