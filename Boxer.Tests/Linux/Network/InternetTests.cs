using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests that need nothing but the tests' own internet.</summary>
/// <param name="internet">It; where it cannot be, the tests are skipped.</param>
public abstract class InternetTests(TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    protected static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public virtual ValueTask InitializeAsync()
    {
        internet.Require();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        return ValueTask.CompletedTask;
    }
}
