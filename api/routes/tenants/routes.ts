import { FlashpodsError } from '../../../src/errors.ts';
import { principalOf, viewOf } from '../../context.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentTenant, readLimits } from './present.ts';
import { ownerName } from '../tokens/schema.ts';
import { setTenantParams, setTenantSchema, tenantListSchema, tenantParams, tenantSchema } from './schema.ts';

export const tenantOperations = ({
  tenants,
  jobs,
}: Pick<ApiResources, 'tenants' | 'jobs'>): readonly Operation[] => [
  operation({
    id: 'listTenants',
    tag: 'tenants',
    method: 'get',
    path: '/tenants',
    summary: 'List tenants, by owner',
    description: 'Owners for whom something was set, and those that have jobs waiting or running.',
    scope: 'admin',
    answers: { 200: json('The tenants.', tenantListSchema) },
    errors: ['service_unavailable'],
    async handle(ctx) {
      const [inForce, overridden, usage] = await Promise.all([
        tenants.inForce(),
        tenants.overridden(),
        jobs.usage(),
      ]);
      const set = new Map(overridden.map((tenant) => [tenant.owner, tenant]));
      const owners = [...new Set([...set.keys(), ...usage.keys()])].sort();
      ctx.body = {
        tenants: owners.map((owner) =>
          presentTenant(set.get(owner) ?? inForce.of(owner), usage.get(owner), set.has(owner)),
        ),
      };
    },
  }),
  operation({
    id: 'getTenant',
    tag: 'tenants',
    method: 'get',
    path: '/tenants/{owner}',
    summary: 'What an owner may have, and has',
    description: 'One’s own without the scope `admin`. An owner for whom nothing was set has the defaults.',
    scope: 'jobs:read',
    params: tenantParams,
    answers: { 200: json('The tenant.', tenantSchema) },
    errors: ['not_found', 'service_unavailable'],
    async handle(ctx, { params: { owner } }) {
      const view = viewOf(ctx);
      if (view !== null && view !== owner)
        throw new FlashpodsError('not_found', 'Without the scope `admin` there is only your own tenant.');
      if (!ownerName.safeParse(owner).success)
        throw new FlashpodsError('not_found', 'No owner can have that name.');
      const [overridden, inForce, usage] = await Promise.all([
        tenants.overridden(),
        tenants.inForce(),
        jobs.usage(),
      ]);
      const set = overridden.find((tenant) => tenant.owner === owner);
      ctx.body = presentTenant(set ?? inForce.of(owner), usage.get(owner), set !== undefined);
    },
  }),
  operation({
    id: 'setTenant',
    tag: 'tenants',
    method: 'put',
    path: '/tenants/{owner}',
    summary: 'Set weight and limits of an owner',
    description:
      'Replaces what was set before, and is in force within a second. What runs goes on, also beyond a new limit.',
    scope: 'admin',
    params: setTenantParams,
    body: { required: true, json: setTenantSchema },
    answers: { 200: json('It is set.', tenantSchema) },
    errors: ['invalid_request', 'payload_too_large', 'unsupported_media_type', 'service_unavailable'],
    async handle(ctx, { params: { owner }, body: { weight, limits } }) {
      const by = principalOf(ctx).tokenId;
      const tenant = await tenants.set({ owner, weight, limits: readLimits(limits) }, by);
      ctx.body = presentTenant(tenant, (await jobs.usage()).get(owner), true);
    },
  }),
  operation({
    id: 'unsetTenant',
    tag: 'tenants',
    method: 'delete',
    path: '/tenants/{owner}',
    summary: 'Back to the defaults',
    scope: 'admin',
    params: tenantParams,
    answers: { 204: { description: 'The owner has the defaults again.' } },
    errors: ['not_found'],
    async handle(ctx, { params: { owner } }) {
      await tenants.unset(owner, principalOf(ctx).tokenId);
      ctx.status = 204;
    },
  }),
];
