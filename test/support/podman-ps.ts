import { get, request } from 'node:http';

export interface Listed {
  readonly Labels: Readonly<Record<string, string>>;
}

/** `podman ps` as Podman's own socket tells it, past every line of ours. */
export function listContainers(socketPath: string, filters: Record<string, string[]>): Promise<Listed[]> {
  const path = `/v4.0.0/libpod/containers/json?all=true&filters=${encodeURIComponent(JSON.stringify(filters))}`;
  return new Promise((resolve, reject) => {
    get({ socketPath, path }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve((JSON.parse(text) as Listed[] | null) ?? []));
    }).on('error', reject);
  });
}

/** `podman rm --force`, past every line of ours. */
export function removeContainer(socketPath: string, name: string): Promise<number> {
  const path = `/v4.0.0/libpod/containers/${name}?force=true&timeout=0`;
  return new Promise((resolve, reject) => {
    request({ socketPath, path, method: 'DELETE' }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    })
      .on('error', reject)
      .end();
  });
}
