/** For each tool a command that fetches `flashpods-sample` and says what it says. */
import { GREETING, SAMPLE } from './content.ts';

export interface ToolTrial {
  readonly tool: string;
  /** Short name of an image of ours. */
  readonly image: string;
  readonly root?: boolean;
  /** Prints the greeting. */
  readonly script: (url: string) => string;
}

const FETCH = (url: string) =>
  `node -e 'fetch("${url}/hello").then(async (r) => process.stdout.write(await r.text()))'`;

const JAVA_GET = (url: string) => `mkdir -p /tmp/j && cd /tmp/j && cat > G.java <<'X'
public class G { public static void main(String[] a) throws Exception {
  try (var in = new java.net.URL("${url}/hello").openStream()) { System.out.write(in.readAllBytes()); System.out.flush(); } } }
X
java G.java`;

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><parent><groupId>org.flashpods</groupId><artifactId>${SAMPLE}</artifactId><version>1</version></parent><artifactId>child</artifactId><packaging>pom</packaging><name>\${greeting}</name></project>`;

export const TOOLS: readonly ToolTrial[] = [
  { tool: 'curl', image: 'base', script: (url) => `curl -sS ${url}/hello; env -i curl -sS ${url}/hello` },
  {
    tool: 'wget',
    image: 'base',
    script: (url) => `wget -nv -O- ${url}/hello; env -i wget -nv -O- ${url}/hello`,
  },
  {
    tool: 'git',
    image: 'base',
    script: (url) => `git clone -q ${url}/git/sample.git /tmp/s && cat /tmp/s/greeting`,
  },
  {
    tool: 'openssl',
    image: 'base',
    script: (url) =>
      `for e in '' 'env -i'; do $e openssl s_client -verify_return_error -connect ${url.slice(8)} </dev/null 2>/dev/null | grep -q 'Verify return code: 0' && echo ${GREETING}; done`,
  },
  {
    tool: 'python',
    image: 'python',
    script: (url) =>
      `cat > /tmp/g.py <<'X'
import urllib.request; print(urllib.request.urlopen("${url}/hello").read().decode(), end="")
X
python3 /tmp/g.py; env -i python3 /tmp/g.py; python3 -c 'from pip._vendor import requests; print(requests.get("${url}/hello").text, end="")'`,
  },
  {
    tool: 'pip',
    image: 'python',
    script: () =>
      `pip install -q ${SAMPLE} && python3 -c 'import flashpods_sample as s; print(s.GREETING)'; python3 -m venv /tmp/v && /tmp/v/bin/pip install -q ${SAMPLE} && /tmp/v/bin/python -c 'import flashpods_sample as s; print(s.GREETING)'`,
  },
  { tool: 'node', image: 'node', script: FETCH },
  {
    tool: 'npm',
    image: 'node',
    script: () =>
      `mkdir /tmp/n && cd /tmp/n && npm init -y >/dev/null && npm install --no-audit --no-fund --loglevel=error ${SAMPLE} >/dev/null && node -p 'require("${SAMPLE}")'`,
  },
  {
    tool: 'yarn',
    image: 'node',
    script: () =>
      `mkdir /tmp/y && cd /tmp/y && echo '{}' > package.json && yarn add -s ${SAMPLE} >/dev/null && node -p 'require("${SAMPLE}")'`,
  },
  {
    tool: 'pnpm',
    image: 'node',
    script: () =>
      `mkdir /tmp/p && cd /tmp/p && echo '{}' > package.json && pnpm add --silent ${SAMPLE} >/dev/null && node -p 'require("${SAMPLE}")'`,
  },
  {
    tool: 'cargo',
    image: 'rust',
    script: () =>
      `cd /tmp && cargo -q new --vcs none c && cd c && echo '${SAMPLE} = "1"' >> Cargo.toml && echo 'fn main() { println!("{}", flashpods_sample::GREETING) }' > src/main.rs && cargo -q run`,
  },
  {
    tool: 'go',
    image: 'go',
    script: () =>
      `mkdir /tmp/g && cd /tmp/g && go mod init x 2>/dev/null && printf 'package main\nimport s "example.org/${SAMPLE}"\nfunc main() { println(s.Greeting) }\n' > m.go && go mod tidy 2>/dev/null; go run . 2>&1`,
  },
  { tool: 'java', image: 'java', script: JAVA_GET },
  {
    tool: 'maven',
    image: 'java',
    script: () =>
      `mkdir /tmp/m; cd /tmp/m && echo '${POM}' > pom.xml && mvn -B validate > o 2>&1 || true; grep -o -m1 '${GREETING}' o || { tail -30 o; false; }`,
  },
  {
    tool: 'apt',
    image: 'base',
    root: true,
    // Unsigned; what is tried is the transport.
    script: () =>
      `apt-get -qq update -o Acquire::AllowInsecureRepositories=true > /dev/null && apt-get -qq install -y --allow-unauthenticated ${SAMPLE} > /dev/null; cat /usr/share/${SAMPLE}`,
  },
];
